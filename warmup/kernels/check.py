"""The derivation held against the installed DeepGEMM: `kernels list --check`.

The library is asked, on a null device and with a compiler that compiles nothing, which kernels it
takes for the derived shapes. Compared are its choices, each by the call that first makes it, and
the names of its cache entries, which are keys (`digest.py`). It writes into a folder of its own,
which is removed: no cache ever holds what came of this.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from warmup.kernels.deep_gemm import HANDLER, make_payload
from warmup.kernels.device import probe
from warmup.kernels.digest import CsrcSearch, JitMeta, JitSearch, get_entry_parts
from warmup.kernels.m_values import choose_kernels, list_ms
from warmup.kernels.pool import CompileJob, CompilePool, WorkerSpec
from warmup.kernels.selection import Kernel
from warmup.kernels.shapes import BLOCK, Ask
from warmup.kernels.work import KernelWork, begin
from warmup.state.api import NONE, Home, VersionVector
from warmup.target.api import Seeding, check_torch, find_real_driver
from warmup.words.errors import HostError, UsageError

_RELEASE = "13.0"
_VERSION = f"a stand-in\nCuda compilation tools, release {_RELEASE}, V{_RELEASE}.88\n"
_COMPILER = """#!/bin/sh
for arg; do
  case "$last" in -o | --output-file) out=$arg ;; esac
  last=$arg
done
[ -z "$out" ] && exec cat "${0%/*}/version"
exec cp "${0%/*}/kernel.cubin" "$out"
"""
# What decides for DeepGEMM who compiles and where it is kept.
_OVERRULED = re.compile(r"D[GJ]_JIT_(NVCC_COMPILER|USE_NVRTC|CACHE_DIR|DEBUG|DUMP_\w+|PRINT_\w+)")

# csrc/jit_kernels/impls/sm90_fp8_gemm_1d2d.hpp and smxx_layout.hpp (DeepGEMM 54e2261; the same
# templates are in the libraries of sgl-deep-gemm 0.1.5.post1, 0.2.3.post2 and 0.2.5).
_PRODUCT = re.compile(r"&sm90_fp8_gemm_1d2d_impl<(.*?)>\)", re.DOTALL)
_TRANSPOSE = re.compile(r"&transpose_fp32<(.*?)>\)", re.DOTALL)
_KINDS = {
    "GemmType::Normal": "NORMAL",
    "GemmType::MGroupedContiguous": "CONTIG",
    "GemmType::MGroupedMasked": "MASKED",
}
# Places among the product's template arguments: scale order, M, N, K, groups, three block sizes,
# three swizzles, stages, two thread counts, cluster, whether it is over A, SMs, kind, …
_N, _K, _GROUPS, _BLOCK_M, _BLOCK_N = 2, 3, 4, 5, 6
_STAGES, _CLUSTER, _ON_A, _NUM_SMS, _KIND = 11, 14, 15, 16, 17


_NOTHING = "none new"


class Difference(msgspec.Struct, frozen=True):
    """at: the call. ours, theirs: the kernels that are new with it."""

    at: str
    ours: str
    theirs: str


class LibraryCheck(msgspec.Struct, frozen=True, kw_only=True):
    """calls: of the library. kernels: that they made. wrong_keys: entries that go by another name
    than the one foretold. deep_gemm: its version; num_sms: of the GPU that it was shown."""

    python: str
    deep_gemm: str
    gpu: str
    num_sms: int
    calls: int
    kernels: int
    differences: tuple[Difference, ...]
    wrong_keys: tuple[str, ...]
    seconds: float

    @property
    def is_equal(self) -> bool:
        return not self.differences and not self.wrong_keys


def check_library(
    asks: Mapping[Ask, int],
    python: str,
    env: Mapping[str, str],
    vector: VersionVector,
    seeding: Seeding,
    home: Home,
    *,
    full: bool,
) -> LibraryCheck:
    """asks: each with its largest M. env, vector: of a server that `python` starts. full: every M.

    Raises UsageError where that interpreter has no DeepGEMM that a null device can serve, HostError
    where a GPU is here or the library refuses a call, Cancelled.
    """
    values = vector.values
    for name, what in (("deep_gemm_include", "sgl-deep-gemm"), ("torch", "torch")):
        if values[name] == NONE:
            raise UsageError(
                f"{python} has no DeepGEMM to ask",
                cause=f"{what} is not installed there",
                hint="name the interpreter of an environment with sgl-deep-gemm and its torch",
            )
    check_torch(values["torch"], values["torch_cuda"])
    real = find_real_driver(env)
    if real is not None:
        raise HostError(
            "DeepGEMM is asked on machines without a GPU alone",
            cause=f"a real CUDA driver is visible: {real}",
            hint="here `kernels compile` compiles what it takes",
        )
    with begin(home) as work:
        there = seeding.lay_over(env, work.run_dir)
        return compare_with_library(asks, python, there, work, full=full)


def compare_with_library(
    asks: Mapping[Ask, int], python: str, env: Mapping[str, str], work: KernelWork, *, full: bool
) -> LibraryCheck:
    """env: with the null device in it. The rest as above."""
    begin = time.monotonic()
    kept = {name: value for name, value in env.items() if not _OVERRULED.fullmatch(name)}
    spec = WorkerSpec(python=python, handler=HANDLER, args=("0",))
    ms = {ask: list_ms(ask.shape, max_m, full=full) for ask, max_m in asks.items()}
    with (
        TemporaryDirectory(prefix="asked-", dir=work.run_dir) as folder,
        # One worker: which call is the first to make a kernel is one process's memory.
        CompilePool(
            [spec],
            env={**kept, "CUDA_HOME": str(_write_toolkit(Path(folder)))},
            cwd=work.run_dir,
            log=work.log,
            check=work.check,
        ) as pool,
    ):
        device = probe(pool, "")
        jobs = [
            CompileJob(str(ask), make_payload(ask, ms[ask], device, Path(folder), op="ask"))
            for ask in asks
        ]
        theirs: dict[str, list[Path]] = {}
        for outcome in pool.run(jobs, work.on_outcome):
            if outcome.error is not None:
                what = f"DeepGEMM refuses {outcome.job.name}"
                raise HostError(what, cause=outcome.error, log=str(work.log))
            for m, names in outcome.answer:
                paths = [Path(folder, "cache", name) for name in names]
                theirs[f"{outcome.job.name} m={m}"] = paths
        entries = [path for paths in theirs.values() for path in paths]
        wrong = tuple(_iter_wrong_keys(entries, Path(device.package, "include")))
        said = {call: " and ".join(map(_describe, paths)) for call, paths in theirs.items()}
    chosen = choose_kernels(asks, device.num_sms, device.compiled_dims, device.version, full=full)
    ours = {f"{ask} m={m}": str(kernel) for kernel, (ask, m) in chosen.items()}
    return LibraryCheck(
        python=python,
        deep_gemm=device.version,
        gpu=device.name,
        num_sms=device.num_sms,
        calls=sum(map(len, ms.values())),
        kernels=len(entries),
        differences=tuple(
            Difference(call, ours.get(call, _NOTHING), said.get(call, _NOTHING))
            for call in dict.fromkeys([*ours, *said])
            if ours.get(call) != said.get(call)
        ),
        wrong_keys=wrong,
        seconds=round(time.monotonic() - begin, 3),
    )


def _write_toolkit(folder: Path) -> Path:
    """A CUDA home whose nvcc answers, and writes one empty kernel for whatever it is given."""
    bin_folder = folder / "toolkit" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "version").write_text(_VERSION)
    (bin_folder / "kernel.cubin").write_bytes(make_cubin())
    (bin_folder / "nvcc").write_text(_COMPILER)
    (bin_folder / "nvcc").chmod(0o700)
    return bin_folder.parent


def make_cubin() -> bytes:
    """The smallest ELF that a null device takes for a module of one kernel: its section is enough
    (`target/native/modules.c`)."""
    names = b"\0.text.kernel\0.shstrtab\0"
    at = 64 + 3 * 64  # header, three sections, their names
    magic = b"\x7fELF\2\1\1"
    header = struct.pack("<16s2HI3QI6H", magic, 2, 190, 1, 0, 0, 64, 0, 64, 0, 0, 64, 3, 2)
    code = struct.pack("<2I4Q2I2Q", 1, 1, 6, 0, at, 0, 0, 0, 1, 0)
    strings = struct.pack("<2I4Q2I2Q", 14, 3, 0, 0, at, len(names), 0, 0, 1, 0)
    return header + bytes(64) + code + strings + names


def read_kernel(source: str) -> Kernel | None:
    """The kernel that a kernel.cu instantiates; None for one that is not derived here."""
    found = _TRANSPOSE.search(source)
    if found is not None:
        scales = int(found[1].split(",")[2])
        return Kernel("TRANSPOSE", 0, scales * BLOCK, 1, 0, 0, 0, 1, False, 0)
    found = _PRODUCT.search(source)
    if found is None:
        return None
    parts = [part.strip() for part in found[1].split(",")]
    return Kernel(
        kind=_KINDS.get(parts[_KIND], parts[_KIND]),
        n=int(parts[_N]),
        k=int(parts[_K]),
        groups=int(parts[_GROUPS]),
        block_m=int(parts[_BLOCK_M]),
        block_n=int(parts[_BLOCK_N]),
        stages=int(parts[_STAGES]),
        cluster=int(parts[_CLUSTER]),
        is_multicast_on_a=parts[_ON_A] in ("true", "1"),
        num_sms=int(parts[_NUM_SMS]),
    )


def _describe(entry: Path) -> str:
    return str(read_kernel((entry / "kernel.cu").read_text()) or entry.name)


def _iter_wrong_keys(entries: Sequence[Path], include: Path) -> Iterator[str]:
    """Names of the entries that we would give another key."""
    first, second = CsrcSearch([include], _RELEASE), JitSearch(include)
    for entry in entries:
        (name, digest), code = get_entry_parts(entry), (entry / "kernel.cu").read_bytes()
        if (entry / "meta.json").exists():
            meta = msgspec.json.decode((entry / "meta.json").read_bytes(), type=JitMeta)
            is_ours = second.find_digest(meta, _VERSION, code) == digest
        else:
            is_ours = first.find(name, digest, code) is not None
        if not is_ours:
            yield entry.name
