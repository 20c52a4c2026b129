"""One launch's DeepGEMM kernels, compiled without its server: from config.json to cache entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from warmup.jit.compile.base import NotModelledError
from warmup.jit.compile.derive import derive, merge_shapes

if TYPE_CHECKING:
    from warmup.jit.compile.deep_gemm import Result
    from warmup.jit.compile.pool import Outcome

# Engines whose kernels are derived; for all others a server is the only way, and no fallback.
ENGINES = ("sglang", "vllm")


def compile_directly(
    *,
    model: str,
    label: str,
    tp: int,
    engine: str,
    args: Sequence[str],
    revision: str | None,
    python: str,
    env: Mapping[str, str],
    run_dir: Path,
    check: Callable[[], None],
    on_outcome: Callable[[Outcome, int, int], None] = lambda *_: None,
) -> Result:
    """Compile every DeepGEMM kernel that a rank of this launch will ask for.

    As `derive` and `Setting` name the arguments. Raises NotModelledError where the model or one of
    its arguments is not modelled, UsageError for a config that no engine could serve, HostError
    where DeepGEMM or a fitting GPU is missing, and what `check` raises.
    """
    from warmup.jit.compile.deep_gemm import Setting, compile_shapes

    shapes = derive(
        model=model, label=label, tp=tp, engine=engine, args=args, env=env, revision=revision
    )
    if not shapes.shapes:
        raise NotModelledError(shapes.reason)
    setting = Setting(
        engine=engine,
        python=python,
        env=env,
        run_dir=run_dir,
        name=run_dir.name,
        check=check,
    )
    return compile_shapes(merge_shapes([shapes]), setting, on_outcome)
