"""DeepGEMM's kernels before the server starts: on every core and without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from warmup.kernels.deep_gemm import Setting, compile_shapes
from warmup.kernels.derive import ModelShapes, derive_or_leave, merge_asks
from warmup.launch.api import Launch
from warmup.report.api import get_count
from warmup.supervise.api import Phases
from warmup.words.errors import HostError, WarmupError


def compile_directly(
    launch: Launch,
    env: Mapping[str, str],
    run_dir: Path,
    phases: Phases,
    *,
    has_gpu: bool,
    check: Callable[[], None],
) -> str | None:
    """Compile what the server would; it then finds the kernels.

    env: the server's. check: may raise to end it all. Returns why the server compiles kernels that
    could have been compiled here; None where all are, or where none are known of this model.
    Raises WarmupError for either reason under `strategy = "kernels"`, which starts no server.
    """
    shapes = derive_or_leave(launch, env)
    is_known = shapes.strategy == "kernels"
    reason: str | None = shapes.reason
    if is_known:
        setting = Setting(
            engine=launch.engine,
            python=launch.python,
            env=env,
            run_dir=run_dir,
            name=run_dir.name,
            check=check,
        )
        reason = _find_hindrance(shapes, setting, phases, has_gpu)
    if reason is not None and launch.strategy == "kernels":
        raise WarmupError(
            "its kernels cannot be compiled without a server",
            cause=reason,
            hint='strategy = "auto" or "server" lets the server compile them',
        )
    return reason if is_known else None


def _find_hindrance(
    shapes: ModelShapes, setting: Setting, phases: Phases, has_gpu: bool
) -> str | None:
    """Compile; None once all kernels are there."""
    if not has_gpu:
        return "DeepGEMM compiles on a GPU only, and this host shows none"
    try:
        with phases.timed("kernels"):
            result = compile_shapes(merge_asks([shapes]), setting)
    except HostError as error:
        return error.reason
    if not result.failed:
        return None
    return f"{get_count(len(result.failed), 'kernel')} failed: {result.failed[0]}"
