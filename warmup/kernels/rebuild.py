"""Recorded DeepGEMM sources compiled again, for a changed nvcc or place of the package.

Needs nvcc and no GPU. The key of each entry is first recomputed as it was: only an entry whose
own name comes out is rebuilt, under the key that the new environment will look up. Where none
does, this version of DeepGEMM makes its keys in a way that is not known here, and nothing is
written: entries that nobody reads would be a lie.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from warmup.caches.api import get_family
from warmup.kernels.deep_gemm import private_cache
from warmup.kernels.device import OLDEST_NVCC
from warmup.kernels.digest import (
    CsrcKeys,
    CsrcSearch,
    JitMeta,
    JitSearch,
    get_entry_parts,
    is_entry,
)
from warmup.kernels.pool import CompileJob, CompilePool, WorkerSpec, get_num_workers
from warmup.kernels.work import KernelsDocument, begin
from warmup.report.api import get_count
from warmup.state.api import NONE, Home, find_release, get_nvcc_text
from warmup.words.errors import HostError, UsageError, WarmupError

HANDLER = Path(__file__).with_name("nvcc_jobs.py")
UNKNOWN = "its key cannot be reproduced: another version of DeepGEMM, or of nvcc, or another place"
OTHER_HEADERS = "made with other headers than the installed package's"
# nvcc and its passes, for one kernel: an estimate.
_HOST_BYTES_EACH = 2 << 30


@dataclass(frozen=True)
class Toolchain:
    """include: the package's, as the server will spell it. version: all of `nvcc --version`."""

    include: Path
    nvcc: str
    version: str

    @property
    def release(self) -> str:
        """`13.0`. Raises UsageError where nvcc does not say, or is older than DeepGEMM takes."""
        found = find_release(self.version)
        if found is None:
            raise UsageError(f"{self.nvcc} does not tell its release", cause=self.version[:200])
        release = "{}.{}".format(*found)
        if found < OLDEST_NVCC:
            hint = "12.3 is the oldest, 12.9 good"
            raise UsageError(f"nvcc {release} is too old for DeepGEMM", hint=hint)
        return release


@dataclass
class RebuildPlan:
    """jobs: what must be compiled. valid: entries that the new environment takes as they are.

    skipped: reason → entries that cannot be carried over.
    """

    jobs: list[CompileJob] = field(default_factory=list)
    valid: list[str] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)

    def skip(self, reason: str, entry: str) -> None:
        self.skipped.setdefault(reason, []).append(entry)

    def add(
        self, path: Path, entry: Path, code: bytes, argv: list[str], files: dict[str, str]
    ) -> None:
        """Plan an entry's compilation, unless it is there. files: others of it → text."""
        if (entry / "kernel.cubin").is_file():
            self.valid.append(entry.name)
            return
        payload = {
            "entry": str(entry),
            "source": code.decode("utf-8", "surrogateescape"),
            "argv": argv,
            "files": files,
        }
        self.jobs.append(CompileJob(path.name, payload, cost=float(len(code))))


def find_toolchain(includes: str, nvcc: str, env: Mapping[str, str]) -> Toolchain:
    """nvcc as DeepGEMM will run it, and the package as it will spell it.

    includes, nvcc: as a version vector names them. Raises HostError where one is missing.
    """
    nvcc = env.get("DG_JIT_NVCC_COMPILER") or nvcc
    if includes == NONE:
        raise HostError(
            "DeepGEMM is not installed in the engine's environment",
            hint="name that environment's interpreter with --python; its headers are needed",
        )
    if nvcc == NONE:
        raise HostError("no nvcc", hint="set CUDA_HOME, or put nvcc on PATH; 12.3 or newer")
    return Toolchain(Path(includes.partition(", ")[0]), nvcc, get_nvcc_text(nvcc))


def rebuild(
    source: Path,
    toolchain: Toolchain,
    old_includes: Sequence[Path],
    env: Mapping[str, str],
    home: Home,
    out: Path | None,
    num_jobs: int | None,
) -> KernelsDocument:
    """Plan it, and compile what is planned into `out`, by default where DeepGEMM looks.

    Raises what `plan_rebuild` does, HostError, Cancelled.
    """
    cache_dir = (out or get_family("deep_gemm").get_roots(env)[0]).absolute()
    plan = plan_rebuild(source.absolute(), cache_dir, toolchain, old_includes)
    with begin(home) as work, private_cache(cache_dir, work.run_id) as building:
        count = get_num_workers(len(plan.jobs), num_jobs, _HOST_BYTES_EACH)
        spec = WorkerSpec(python=sys.executable, handler=HANDLER, args=(str(building),))
        with CompilePool(
            [spec] * count, env=env, cwd=work.run_dir, log=work.log, check=work.check
        ) as pool:
            outcomes = pool.run(plan.jobs, work.on_outcome)
    valid = get_count(len(plan.valid), "entry", "entries")
    notes = [f"{valid} valid as before"] if plan.valid else []
    notes += [
        f"{get_count(len(names), 'entry', 'entries')}: {why}" for why, names in plan.skipped.items()
    ]
    failed = [f"{each.job.name}: {each.error}" for each in outcomes if each.error is not None]
    return work.conclude(
        "rebuild",
        kernels=len(plan.jobs),
        failed=failed,
        notes=notes,
        cache_dir=cache_dir,
        is_whole=not plan.skipped,
    )


def plan_rebuild(
    source: Path, target: Path, new: Toolchain, old_includes: Sequence[Path] = ()
) -> RebuildPlan:
    """source: a cache folder, or its `cache`; target: the folder whose `cache` gets the entries.

    old_includes: where the package may have stood when `source` was written. Raises UsageError
    where `source` holds no entries, WarmupError where no key of its entries can be reproduced.
    """
    entries = list(_iter_entries(source))
    if not entries:
        raise UsageError(f"{source} holds no DeepGEMM entries", hint="give the folder above cache/")
    plan = RebuildPlan()
    search = CsrcSearch([*old_includes, new.include], new.release)
    keys = JitSearch(new.include)
    for path in entries:
        if (path / "meta.json").exists():
            _add_jit(plan, path, target / "cache", new, keys)
        else:
            _add_csrc(plan, path, target / "cache", new, search)
    if not plan.jobs and not plan.valid and UNKNOWN in plan.skipped:
        raise WarmupError(
            "the keys of this cache cannot be reproduced: nothing was written",
            cause=f"tried {get_count(len(plan.skipped[UNKNOWN]), 'entry', 'entries')}, "
            f"{plan.skipped[UNKNOWN][0]} among them",
            hint="say where the package stood with --was-include, or let a server compile",
        )
    return plan


def _iter_entries(source: Path) -> Iterator[Path]:
    folder = source / "cache" if (source / "cache").is_dir() else source
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"{source}: cannot be read", cause=error.strerror) from error
    for path in paths:
        if is_entry(path.name) and (path / "kernel.cu").is_file():
            yield path


def _add_csrc(
    plan: RebuildPlan,
    path: Path,
    folder: Path,
    new: Toolchain,
    search: CsrcSearch,
) -> None:
    """An entry of csrc/jit: it does not say how it was made, so what is likely is tried."""
    (name, digest), code = get_entry_parts(path), (path / "kernel.cu").read_bytes()
    old = search.find(name, digest, code)
    if old is None:
        plan.skip(UNKNOWN, path.name)
        return
    keys = CsrcKeys(new.include, new.release, old.standard, old.arch)
    if not keys.has_headers_of(code):
        plan.skip(OTHER_HEADERS, path.name)
        return
    argv = [new.nvcc, "{folder}/kernel.cu", "-cubin", "-o", "{folder}/kernel.cubin"]
    entry = folder / f"kernel.{name}.{keys.get_digest(name, code)}"
    plan.add(path, entry, code, [*argv, *keys.flags.split(" ")], {})


def _add_jit(plan: RebuildPlan, path: Path, folder: Path, new: Toolchain, keys: JitSearch) -> None:
    """An entry of deep_jit, whose meta.json says how it was made."""
    (name, digest), code = get_entry_parts(path), (path / "kernel.cu").read_bytes()
    raw = (path / "meta.json").read_bytes()
    try:
        meta = msgspec.json.decode(raw, type=JitMeta)
    except (msgspec.DecodeError, UnicodeDecodeError):
        plan.skip("its meta.json cannot be read", path.name)
        return
    if meta.compiler_options.post_hook is not None:
        plan.skip("it was changed after nvcc, by a hook", path.name)
        return
    if keys.find_digest(meta, meta.compiler_info.version, code) != digest:
        plan.skip(UNKNOWN, path.name)
        return
    argv = [new.nvcc, "{folder}/kernel.cu", "--cubin", "--output-file", "{folder}/kernel.cubin"]
    argv += [*meta.compiler_options.get_flags(), "--include-path", str(new.include)]
    entry = folder / f"{name}.{keys.find_digest(meta, new.version, code)}"
    plan.add(path, entry, code, argv, {"meta.json": _make_meta(raw, new), ".committed": ""})


def _make_meta(raw: bytes, new: Toolchain) -> str:
    meta: dict[str, Any] = msgspec.json.decode(raw)
    meta["config"]["include_dirs"] = [str(new.include)]
    meta["config"]["python_library_root"] = str(new.include.parent)
    meta["compiler_info"] = {"path": new.nvcc, "version": new.version}
    meta["command"] = "rebuilt by warmup-ci"
    return msgspec.json.encode(meta).decode()
