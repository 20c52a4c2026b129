"""Recorded DeepGEMM sources compiled again, for a changed nvcc or place of the package.

Needs nvcc and no GPU. The key of each entry is first recomputed as it was: only an entry whose
own name comes out is rebuilt, under the key that the new environment will look up. Where none
does, this version of DeepGEMM makes its keys in a way that is not known here, and nothing is
written: entries that nobody reads would be a lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from warmup.kernels.rebuild_csrc import CsrcEntries
from warmup.kernels.rebuild_jit import JitEntries
from warmup.kernels.rebuild_plan import ENTRY, UNKNOWN, Plan, Toolchain
from warmup.words.errors import UsageError, WarmupError

HANDLER = Path(__file__).with_name("nvcc_jobs.py")


def plan_rebuild(
    source: Path, target: Path, new: Toolchain, old_includes: Sequence[Path] = ()
) -> Plan:
    """source: a cache folder, or its `cache`; target: the folder whose `cache` gets the entries.

    old_includes: where the package may have stood when `source` was written. Raises UsageError
    where `source` holds no entries, WarmupError where no key of its entries can be reproduced.
    """
    entries = list(_iter_entries(source))
    if not entries:
        raise UsageError(f"{source} holds no DeepGEMM entries", hint="give the folder above cache/")
    plan = Plan()
    csrc, jit = CsrcEntries(new, old_includes), JitEntries(new)
    for path in entries:
        if (path / "meta.json").exists():
            jit.add(plan, path, target)
        else:
            csrc.add(plan, path, target)
    if not plan.jobs and not plan.valid and UNKNOWN in plan.skipped:
        raise WarmupError(
            "the keys of this cache cannot be reproduced: nothing was written",
            cause=f"{len(plan.skipped[UNKNOWN])} entries were tried, "
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
        if ENTRY.fullmatch(path.name) and (path / "kernel.cu").is_file():
            yield path
