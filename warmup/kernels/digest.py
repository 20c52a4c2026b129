"""DeepGEMM's cache keys, recomputed: those of csrc/jit and those of deep_jit.

* csrc/jit (DeepGEMM 54e2261, csrc/jit/compiler.hpp, include_parser.hpp, utils/hash.hpp; the
  format strings and constants are in sgl-deep-gemm 0.1.5.post1's library too): a digest of
  `name$$signature$$flags$$code`, whose first line holds a hash of the included headers.
* deep_jit (sgl-deep-gemm 0.2.5, include/deep_jit/runtime/runtime.hpp, utils/hash.hpp,
  utils/parser.hpp, backend/cuda/options.hpp): parts with their lengths, headers among them.

Whether an installed version still does so is not believed but tried, on entries that it wrote.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

_MASK = (1 << 64) - 1
_SEED = 0xC6A4A7935BD1E995
_PRIME = 0x100000001B3
_CSRC_SEED = 0x9E3779B97F4A7C15
_JIT_SEED = 0xFF51AFD7ED558CCD
_JIT_FACTOR = 0x9E3779B97F4A7C15

_CSRC_INCLUDE = re.compile(rb"#include <(deep_gemm[^>\" ][^>\"]*)>")
_JIT_INCLUDE = re.compile(rb"^[ \t\f\v]*#[ \t\f\v]*include[ \t\f\v]*<([^>\"]+)>", re.MULTILINE)
_HASH_LINE = re.compile(rb"// Includes' hash value: ([0-9a-f]{32})\n")

# nvcc releases that DeepGEMM takes, tried where an entry does not say which it was.
_RELEASES = tuple(f"12.{n}" for n in (9, 8, 6, 5, 4, 3)) + tuple(f"13.{n}" for n in range(6))
_STANDARDS = (20, 17)

_ENTRY = re.compile(r"(?:kernel\.)?(\w+)\.([0-9a-f]{32})")


def is_entry(name: str) -> bool:
    """Whether a cache entry may be called so."""
    return _ENTRY.fullmatch(name) is not None


def get_entry_parts(entry: Path) -> tuple[str, str]:
    """An entry's kernel and digest. Raises ValueError for another name."""
    found = _ENTRY.fullmatch(entry.name)
    if found is None:
        raise ValueError(f"not the name of an entry: {entry.name}")
    return found[1], found[2]


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

    def has_headers_of(self, code: bytes) -> bool:
        """Whether the hash in the first line is that of this package's headers."""
        line = _HASH_LINE.match(code)
        try:
            return line is not None and (
                self.get_include_hash(code[line.end() :]) == line.group(1).decode()
            )
        except OSError:
            return False

    def _hash_file(self, name: str) -> str:
        if name not in self._hashes:
            code = (self.include / name).read_bytes()
            inner = [self._hash_file(each) for each in _list_includes(_CSRC_INCLUDE, code)]
            text = "".join(f"{each}$" for each in inner) + "#" + get_csrc_digest(code)
            self._hashes[name] = get_csrc_digest(text.encode())
        return self._hashes[name]


class JitKeys:
    """Keys of deep_jit, with the headers in `include` that begin with one of `prefixes`."""

    def __init__(self, include: Path, prefixes: Sequence[str]) -> None:
        self._include = include
        self._prefixes = tuple(prefixes)
        self._hashes: dict[str, str] = {}

    def get_digest(self, signature: str, version: str, flags: Sequence[str], code: bytes) -> str:
        """signature: of the package; version: the whole text of `nvcc --version`; flags: of nvcc,
        without includes. Raises OSError."""
        compiler = get_jit_digest(version.encode())
        parts = (signature, compiler, " ".join(flags), "", self.get_code_hash(code))
        return get_jit_digest(*(part.encode() for part in parts))

    def get_code_hash(self, code: bytes) -> str:
        found = [
            name for name in _list_includes(_JIT_INCLUDE, code) if name.startswith(self._prefixes)
        ]
        return get_jit_digest(code, *(self._hash_file(name).encode() for name in found))

    def _hash_file(self, name: str) -> str:
        if name not in self._hashes:
            self._hashes[name] = self.get_code_hash((self._include / name).read_bytes())
        return self._hashes[name]


class _JitConfig(msgspec.Struct):
    extra_signature: str = ""
    include_dirs: tuple[str, ...] = ()
    include_prefixes: tuple[str, ...] = ()


class _JitCompiler(msgspec.Struct):
    version: str


class _JitOptions(msgspec.Struct):
    """deep_jit's options (0.2.5, backend/cuda/options.hpp, to_json)."""

    optimize_level: str
    ptxas_register_usage_level: int
    arch: str
    use_fast_math: bool | None = False
    ptxas_verbose: bool | None = False
    check_no_spills: bool | None = False
    check_no_local_memory: bool | None = False
    with_line_info: bool | None = False
    nvcc_flags: tuple[str, ...] | None = ()
    extra_nvcc_flags: tuple[str, ...] = ()
    post_hook: str | None = None

    def get_flags(self) -> list[str]:
        """nvcc's arguments, in the order of `CompilerOptions::get_flags`."""
        level = self.optimize_level
        flags = [
            f"--gpu-architecture=sm_{self.arch}",
            f"-O{level}",
            f"--compiler-options=-O{level}",
        ]
        flags += ["--use_fast_math"] * bool(self.use_fast_math)
        flags += ["--ptxas-options=--verbose"] * bool(self.ptxas_verbose)
        flags += [f"--ptxas-options=--register-usage-level={self.ptxas_register_usage_level}"]
        flags += ["--ptxas-options=--warn-on-spills"] * bool(self.check_no_spills)
        local = "--ptxas-options=--warn-on-local-memory-usage"
        flags += [local] * bool(self.check_no_local_memory)
        flags += ["--generate-line-info"] * bool(self.with_line_info)
        return [*flags, *(self.nvcc_flags or ()), *self.extra_nvcc_flags]


class JitMeta(msgspec.Struct):
    """meta.json, which says how an entry of deep_jit was made."""

    config: _JitConfig
    compiler_info: _JitCompiler
    compiler_options: _JitOptions


class JitSearch:
    """Keys of deep_jit's entries, as their meta.json says they were made, with the headers of one
    package: other ones give other keys."""

    def __init__(self, include: Path) -> None:
        self._include = include
        self._keys: dict[tuple[str, ...], JitKeys] = {}

    def find_digest(self, meta: JitMeta, version: str, code: bytes) -> str | None:
        """None where a header is missing."""
        prefixes = meta.config.include_prefixes
        keys = self._keys.setdefault(prefixes, JitKeys(self._include, prefixes))
        signature, flags = meta.config.extra_signature, meta.compiler_options.get_flags()
        try:
            return keys.get_digest(signature, version, flags, code)
        except OSError:
            return None


class CsrcSearch:
    """How entries of csrc/jit were made, by trying. includes: where the package may have stood.

    release: nvcc's, the first to be tried.
    """

    def __init__(self, includes: Sequence[Path], release: str) -> None:
        self._includes = list(dict.fromkeys(includes))
        self._releases = list(dict.fromkeys([release, *_RELEASES]))
        self._last: CsrcKeys | None = None

    def find(self, name: str, digest: str, code: bytes) -> CsrcKeys | None:
        """The keys that give this digest; None if all that is likely gives another."""
        if self._last is not None and self._last.get_digest(name, code) == digest:
            return self._last
        archs = ("90a",) if name.startswith("sm90") else ("90a", "100f", "100a")
        for way in itertools.product(self._includes, self._releases, _STANDARDS, archs):
            keys = CsrcKeys(*way)
            if keys.get_digest(name, code) == digest:
                self._last = keys
                return keys
        return None


def _list_includes(pattern: re.Pattern[bytes], code: bytes) -> list[str]:
    return [name.decode("utf-8", "surrogateescape") for name in pattern.findall(code)]
