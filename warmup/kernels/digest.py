"""DeepGEMM's cache keys, recomputed: those of csrc/jit and those of deep_jit.

* csrc/jit (DeepGEMM 54e2261, csrc/jit/compiler.hpp, include_parser.hpp, utils/hash.hpp; the
  format strings and constants are in sgl-deep-gemm 0.1.5.post1's library too): a digest of
  `name$$signature$$flags$$code`, whose first line holds a hash of the included headers.
* deep_jit (sgl-deep-gemm 0.2.5, include/deep_jit/runtime/runtime.hpp, utils/hash.hpp,
  utils/parser.hpp, backend/cuda/options.hpp): parts with their lengths, headers among them.

Whether an installed version still does so is not believed but tried, on entries that it wrote.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_MASK = (1 << 64) - 1
_SEED = 0xC6A4A7935BD1E995
_PRIME = 0x100000001B3
_CSRC_SEED = 0x9E3779B97F4A7C15
_JIT_SEED = 0xFF51AFD7ED558CCD
_JIT_FACTOR = 0x9E3779B97F4A7C15

_CSRC_INCLUDE = re.compile(rb"#include <(deep_gemm[^>\" ][^>\"]*)>")
_JIT_INCLUDE = re.compile(rb"^[ \t\f\v]*#[ \t\f\v]*include[ \t\f\v]*<([^>\"]+)>", re.MULTILINE)
HASH_LINE = re.compile(rb"// Includes' hash value: ([0-9a-f]{32})\n")


def _mix(value: int) -> int:
    """The finaliser of SplitMix64."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def get_csrc_digest(data: bytes) -> str:
    """Two FNV-1a states of 64 bits, mixed."""
    first, second = _SEED, _CSRC_SEED
    for byte in data:
        first = ((first ^ byte) * _PRIME) & _MASK
        second = ((second ^ byte) * _PRIME) & _MASK
    return f"{_mix(first):016x}{_mix(second):016x}"


def get_jit_digest(*parts: bytes) -> str:
    """As above, each part after its length in eight bytes, little end first."""
    first, second = _SEED, _JIT_SEED
    for part in parts:
        for byte in len(part).to_bytes(8, "little") + part:
            first = ((first ^ byte) * _PRIME) & _MASK
            second = ((second ^ byte) * _JIT_FACTOR) & _MASK
    return f"{_mix(first):016x}{_mix(second):016x}"


class CsrcKeys:
    """Keys of the first generation, for one package, compiler and set of flags.

    include: the package's `include` folder, spelled as deep_gemm spells it. release: nvcc's
    major and minor, `13.0`.
    """

    def __init__(self, include: Path, release: str, standard: int = 20, arch: str = "90a") -> None:
        self.include = include
        self.standard = standard
        self.arch = arch
        self.signature = f"NVCC{release}"
        self.flags = (
            f"-std=c++{standard} --diag-suppress=39,161,174,177,186,940 "
            f"--ptxas-options=--register-usage-level=10 -I{include} --gpu-architecture=sm_{arch} "
            "--compiler-options=-fPIC,-O3,-fconcepts,-Wno-deprecated-declarations,-Wno-abi "
            "-O3 --expt-relaxed-constexpr --expt-extended-lambda"
        )
        self._hashes: dict[str, str] = {}

    def get_digest(self, name: str, code: bytes) -> str:
        """name: of the kernel; code: its kernel.cu, the hash line included."""
        head = f"{name}$${self.signature}$${self.flags}$$".encode()
        return get_csrc_digest(head + code)

    def get_include_hash(self, code: bytes) -> str:
        """Of the headers that code (without its hash line) includes. Raises OSError."""
        found = [self._hash_file(name) for name in _list_includes(_CSRC_INCLUDE, code)]
        return get_csrc_digest("".join(f"{each}$" for each in found).encode())

    def _hash_file(self, name: str) -> str:
        if name not in self._hashes:
            code = (self.include / name).read_bytes()
            inner = [self._hash_file(each) for each in _list_includes(_CSRC_INCLUDE, code)]
            text = "".join(f"{each}$" for each in inner) + "#" + get_csrc_digest(code)
            self._hashes[name] = get_csrc_digest(text.encode())
        return self._hashes[name]


class JitKeys:
    """Keys of deep_jit. version: the whole text of `nvcc --version`."""

    def __init__(self, include_dirs: Sequence[Path], prefixes: Sequence[str], version: str) -> None:
        self._include_dirs = include_dirs
        self._prefixes = tuple(prefixes)
        self._version = get_jit_digest(version.encode())
        self._hashes: dict[str, str] = {}

    def get_digest(self, signature: str, flags: Sequence[str], code: bytes) -> str:
        """signature: of the package; flags: of nvcc, without includes. Raises OSError."""
        parts = (signature, self._version, " ".join(flags), "", self.get_code_hash(code))
        return get_jit_digest(*(part.encode() for part in parts))

    def get_code_hash(self, code: bytes) -> str:
        found = [
            name for name in _list_includes(_JIT_INCLUDE, code) if name.startswith(self._prefixes)
        ]
        return get_jit_digest(code, *(self._hash_file(name).encode() for name in found))

    def _hash_file(self, name: str) -> str:
        if name not in self._hashes:
            paths = [folder / name for folder in self._include_dirs]
            path = next((path for path in paths if path.exists()), Path(name))
            self._hashes[name] = self.get_code_hash(path.read_bytes())
        return self._hashes[name]


def _list_includes(pattern: re.Pattern[bytes], code: bytes) -> list[str]:
    return [name.decode("utf-8", "surrogateescape") for name in pattern.findall(code)]
