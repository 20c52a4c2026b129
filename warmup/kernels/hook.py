"""What `run` needs of all this: is a launch known by its config alone, and then compile it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from warmup.kernels.derive import ModelShapes, derive, merge_asks
from warmup.words.errors import UsageError

if TYPE_CHECKING:
    from warmup.kernels.deep_gemm import Result
    from warmup.kernels.pool import Outcome


class LaunchLike(Protocol):
    """The parts of `warmup.launch.launch.Launch` that kernels depend on."""

    @property
    def model(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def tp(self) -> int: ...
    @property
    def engine(self) -> str: ...
    @property
    def python(self) -> str: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def fallback_args(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class KernelPlan:
    """env: the server's."""

    shapes: ModelShapes
    engine: str
    python: str
    env: Mapping[str, str]


@dataclass(frozen=True)
class Fallback:
    """reason: why only the server can compile this launch's kernels."""

    reason: str


def plan_kernels(launch: LaunchLike, env: Mapping[str, str]) -> KernelPlan | Fallback:
    """env: the server's environment. Starts nothing; reads config.json. Raises nothing."""
    try:
        shapes = derive(
            model=launch.model,
            label=launch.label,
            tp=launch.tp,
            engine=launch.engine,
            args=launch.fallback_args,
            env=env,
            revision=launch.revision,
        )
    except UsageError as error:
        return Fallback(error.reason)
    if shapes.strategy == "server":
        return Fallback(shapes.reason)
    return KernelPlan(shapes, launch.engine, launch.python, env)


def compile_kernels(
    plan: KernelPlan,
    *,
    run_dir: Path,
    name: str,
    check: Callable[[], None],
    on_outcome: Callable[[Outcome, int, int], None] = lambda *_: None,
) -> Result:
    """Compile into the cache that the engine looks in; a log `kernels.log` in run_dir.

    name: of this run. check: called several times a second, may raise. Raises HostError where
    this host cannot (no GPU, no deep_gemm): under `auto` a reason to fall back, too.
    """
    from warmup.kernels.deep_gemm import Setting, compile_shapes

    setting = Setting(
        engine=plan.engine,
        python=plan.python,
        env=plan.env,
        run_dir=run_dir,
        name=name,
        check=check,
    )
    return compile_shapes(merge_asks([plan.shapes]), setting, on_outcome)
