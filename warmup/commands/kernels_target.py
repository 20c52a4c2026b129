"""`warmup-ci kernels --target cuda:90`: the reference engine's kernels, for a GPU elsewhere."""

from __future__ import annotations

from warmup.commands.kernels import KernelOptions
from warmup.commands.kernels_session import begin, conclude
from warmup.commands.session import Session
from warmup.launch.engine_table import get_engine
from warmup.launch.launch import Launch
from warmup.words.errors import UsageError


def compile_for_target(session: Session, options: KernelOptions) -> int:
    """Every Triton kernel that serving these models launches on the target.

    Raises UsageError for a target or a model that the engine does not know.
    """
    from warmup.caches.family_table import get_family
    from warmup.kernels import target
    from warmup.kernels.pool import Pool
    from warmup.kernels.resources import get_num_workers

    target.check_target(options.target)
    launches = session.launches
    for launch in launches:
        _check(launch)
    python, env = launches[0].python, session.get_env(launches[0])
    cache_dir = (options.out or get_family("triton").get_roots(env)[0]).absolute()
    models = [
        target.TargetModel(each.model, each.tp, options.fp8 or "--fp8" in each.fallback_args)
        for each in launches
    ]
    spec = target.make_spec(python, options.target)
    with begin(session, "kernels") as work:
        pool = Pool(
            [spec],
            env=target.get_env(env, cache_dir),
            cwd=work.run_dir,
            log=work.log,
            check=work.check,
        )
        with pool:
            jobs = target.list_jobs(models, pool)
            count = get_num_workers(len(jobs), options.jobs, target.HOST_BYTES_EACH)
            pool.add([spec] * (count - 1))
            outcomes = pool.run(jobs, work.on_outcome)
    return conclude(
        "target",
        kernels=len(jobs),
        failed=[f"{each.job.name}: {each.error}" for each in outcomes if each.error is not None],
        notes=[],
        models=[{"model": launch.label, "tp": launch.tp} for launch in launches],
        work=work,
        cache_dir=cache_dir,
        json_output=options.json_output,
    )


def _check(launch: Launch) -> None:
    problem = get_engine("reference").find_problem(launch)
    if problem is not None:
        raise problem
    if launch.engine != "reference":
        raise UsageError(f"{launch.name}: --target knows the reference engine's kernels alone")
