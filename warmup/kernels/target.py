"""The reference engine's Triton kernels, compiled for a GPU that is not here (`--target`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from warmup.caches.api import get_family
from warmup.kernels.pool import CompileJob, CompilePool, WorkerSpec, get_num_workers
from warmup.kernels.work import KernelsDocument, begin
from warmup.launch.api import Launch, get_engine
from warmup.state.api import Home
from warmup.words.errors import UsageError, WarmupError
from warmup.words.program import find_checkout

HANDLER = Path(__file__).parents[1] / "engine" / "kernels" / "aot.py"
# torch, transformers and diffusers imported, and Triton's compiler: an estimate.
HOST_BYTES_EACH = 2 << 30


def compile_for_target(
    launches: Sequence[Launch],
    target: str,
    env: Mapping[str, str],
    home: Home,
    *,
    fp8: bool,
    out: Path | None,
    num_jobs: int | None,
) -> KernelsDocument:
    """Every Triton kernel that serving these models launches on the target.

    target: `cuda:90`. env: the server's. fp8: as its `--fp8` needs them. Raises UsageError for a
    target or a model that the engine does not know, HostError, Cancelled.
    """
    check_target(target)
    for launch in launches:
        problem = get_engine("reference").find_problem(launch)
        if problem is not None:
            raise problem
        if launch.engine != "reference":
            raise UsageError(f"{launch.name}: --target knows the reference engine's kernels alone")
    cache_dir = (out or get_family("triton").get_roots(env)[0]).absolute()
    spec = WorkerSpec(python=launches[0].python, handler=HANDLER, args=(target,))
    with (
        begin(home) as work,
        CompilePool(
            [spec],
            env=get_worker_env(env, cache_dir),
            cwd=work.run_dir,
            log=work.log,
            check=work.check,
        ) as pool,
    ):
        jobs = list_jobs(launches, pool, fp8=fp8)
        pool.add([spec] * (get_num_workers(len(jobs), num_jobs, HOST_BYTES_EACH) - 1))
        outcomes = pool.run(jobs, work.on_outcome)
    return work.conclude(
        "target",
        kernels=len(jobs),
        failed=[f"{each.job.name}: {each.error}" for each in outcomes if each.error is not None],
        models=[{"model": launch.label, "tp": launch.tp} for launch in launches],
        cache_dir=cache_dir,
    )


def get_worker_env(env: Mapping[str, str], cache_dir: Path) -> dict[str, str]:
    """A checkout's engine is the one that is compiled for; else it is the server's own."""
    return {**env, "TRITON_CACHE_DIR": str(cache_dir), **find_checkout(env)}


def check_target(target: str) -> None:
    """Raises UsageError for what names no CUDA capability; the worker checks it again."""
    backend, _, capability = target.partition(":")
    if backend != "cuda" or not capability.isdigit() or not 70 <= int(capability[:4]) <= 130:
        raise UsageError(f"no target is called {target!r}", hint="for an H100 or H200: cuda:90")


def list_jobs(launches: Sequence[Launch], pool: CompilePool, *, fp8: bool) -> list[CompileJob]:
    """One job for each distinct kernel of these models. Raises WarmupError for a bad folder."""
    asked = []
    for each in launches:
        has_fp8 = fp8 or "--fp8" in each.fallback_args
        payload = {
            "op": "list",
            "model": str(each.files or each.model),
            "tp": each.tp,
            "fp8": has_fp8,
        }
        asked.append(CompileJob(each.name, payload))
    found: dict[str, CompileJob] = {}
    for outcome in pool.run(asked):
        if outcome.error is not None:
            raise WarmupError(
                f"{outcome.job.name}: its kernels cannot be listed", cause=outcome.error
            )
        for launch in outcome.answer:
            job = CompileJob(launch["name"], {"op": "compile", **launch})
            found.setdefault(launch["data"], job)
    return list(found.values())
