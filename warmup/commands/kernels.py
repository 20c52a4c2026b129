"""`warmup-ci kernels`: compile kernels from a model's config.json alone, without weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from warmup.commands.session import Session
from warmup.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class KernelOptions:
    """What `kernels` was asked for; without any of the first four: compile here, on a GPU.

    only_list: print shapes. target: `cuda:90`, compile the reference engine's kernels for it.
    rebuild_from: a DeepGEMM cache whose sources are compiled again. download: fetch a config.json
    that the hub cache lacks. full: every M. out: folder to compile into, "" the family's own.
    jobs: processes, None as many as there are cores and memory.
    """

    only_list: bool = False
    target: str = ""
    rebuild_from: Path | None = None
    download: bool = False
    full: bool = False
    out: Path | None = None
    jobs: int | None = None
    json_output: bool = False


def kernels(session: Session, options: KernelOptions) -> int:
    """Returns the exit status: 0 all compiled (or listed), 1 something was not, 3 host unusable.

    Raises UsageError for options that exclude each other and for wrong configs.
    """
    _check(session, options)
    if options.only_list:
        from warmup.commands.kernels_list import list_kernels

        return list_kernels(session, full=options.full, json_output=options.json_output)
    raise UsageError("only --list")


def _check(session: Session, options: KernelOptions) -> None:
    chosen = [
        name
        for name, value in (
            ("--list", options.only_list),
            ("--target", options.target),
            ("--rebuild", options.rebuild_from),
        )
        if value
    ]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} exclude each other")
    if not session.launches and options.rebuild_from is None:
        raise UsageError("no model named", hint="give MODEL[:TP], or --workflow FILE")
