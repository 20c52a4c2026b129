"""Compile the reference engine's Triton kernels for a GPU that is not here (`--target`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from warmup.kernels.pool import Job, Pool, WorkerSpec
from warmup.words.errors import UsageError, WarmupError

HANDLER = Path(__file__).parents[1] / "engine" / "kernels" / "aot.py"
# torch, transformers and diffusers imported, and Triton's compiler: an estimate.
HOST_BYTES_EACH = 2 << 30


@dataclass(frozen=True)
class TargetModel:
    """path: the model's folder. tp: ranks of its server. fp8: whether that quantises."""

    path: str
    tp: int
    fp8: bool = False

    @property
    def name(self) -> str:
        return f"{self.path}:{self.tp}"


def make_spec(python: str, target: str) -> WorkerSpec:
    return WorkerSpec(python=python, handler=HANDLER, args=(target,))


def get_env(env: Mapping[str, str], cache_dir: Path) -> dict[str, str]:
    """Of a worker. A checkout's engine is imported from where this file stands; an installed one
    is the server's own, and our packages must not come before its."""
    variables = {**env, "TRITON_CACHE_DIR": str(cache_dir)}
    home = Path(__file__).parents[2]
    if home.name not in ("site-packages", "dist-packages"):
        before = env.get("PYTHONPATH")
        variables["PYTHONPATH"] = f"{home}:{before}" if before else str(home)
    return variables


def check_target(target: str) -> None:
    """Raises UsageError for what names no CUDA capability; the worker checks it again."""
    backend, _, capability = target.partition(":")
    if backend != "cuda" or not capability.isdigit() or not 70 <= int(capability[:4]) <= 130:
        raise UsageError(f"no target is called {target!r}", hint="for an H100 or H200: cuda:90")


def list_jobs(models: Sequence[TargetModel], pool: Pool) -> list[Job]:
    """One job for each distinct kernel of these models. Raises WarmupError for a bad folder."""
    asked = [
        Job(model.name, {"op": "list", "model": model.path, "tp": model.tp, "fp8": model.fp8})
        for model in models
    ]
    launches: dict[str, Job] = {}
    for outcome in pool.run(asked):
        if outcome.error is not None:
            raise WarmupError(
                f"{outcome.job.name}: its kernels cannot be listed", cause=outcome.error
            )
        for launch in outcome.answer:
            launches.setdefault(launch["data"], Job(launch["name"], {"op": "compile", **launch}))
    return list(launches.values())
