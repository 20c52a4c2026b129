"""`warmup-ci kernels`: compile kernels from a model's config.json alone, without weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from warmup.commands.session import Session
from warmup.words.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class KernelOptions:
    """What `kernels` was asked for; without any of the first three: compile here, on a GPU.

    only_list: print shapes. target: `cuda:90`, compile the reference engine's Triton kernels for
    it; fp8: as its `--fp8` needs them. rebuild_from: a DeepGEMM cache whose sources are compiled
    again; was_include: where the package stood then. download: fetch each config.json that the
    hub cache lacks. full: every M. out: cache folder to write, None where the engine looks.
    jobs: processes, None as many as cores and memory allow.
    """

    only_list: bool = False
    target: str = ""
    fp8: bool = False
    rebuild_from: Path | None = None
    was_include: tuple[Path, ...] = ()
    download: bool = False
    full: bool = False
    out: Path | None = None
    jobs: int | None = None
    json_output: bool = False


def kernels(session: Session, options: KernelOptions) -> int:
    """Returns the exit status: 0 all compiled (or listed), 1 not all, 3 host unusable.

    Raises UsageError for options that exclude each other and for wrong configs, HostError where
    nothing can be compiled here, and Cancelled.
    """
    _check(session, options)
    if options.download:
        from warmup.commands.kernels_download import download_configs

        download_configs(session)
    if options.only_list:
        from warmup.commands.kernels_list import list_kernels

        return list_kernels(session, full=options.full, json_output=options.json_output)
    if options.rebuild_from is not None:
        from warmup.commands.kernels_rebuild import rebuild_kernels

        return rebuild_kernels(session, options)
    if options.target:
        from warmup.commands.kernels_target import compile_for_target

        return compile_for_target(session, options)
    from warmup.commands.kernels_compile import compile_kernels

    return compile_kernels(session, options)


def _check(session: Session, options: KernelOptions) -> None:
    asked = {
        "--list": options.only_list,
        "--target": bool(options.target),
        "--rebuild": options.rebuild_from is not None,
    }
    chosen = [name for name, is_asked in asked.items() if is_asked]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} exclude each other")
    if not session.launches and options.rebuild_from is None:
        raise UsageError(
            "no model named", hint="give MODEL[:TP] …, or --workflow FILE to take all of its models"
        )
