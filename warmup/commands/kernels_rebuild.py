"""`warmup-ci kernels --rebuild FROM_CACHE`: recorded DeepGEMM sources, compiled again by nvcc."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from warmup.commands.kernels import KernelOptions
from warmup.commands.kernels_session import begin, conclude
from warmup.commands.session import Session
from warmup.kernels.rebuild_plan import Toolchain
from warmup.state.marker import Marker, list_markers
from warmup.state.nvcc import get_nvcc_text
from warmup.state.values import NONE
from warmup.state.version_vector import VersionVector
from warmup.words.errors import HostError

_INCLUDE = "deep_gemm_include"
# nvcc and its passes, for one kernel: an estimate.
_HOST_BYTES_EACH = 2 << 30


def rebuild_kernels(session: Session, options: KernelOptions) -> int:
    """Raises WarmupError where no entry's key can be reproduced, HostError without nvcc."""
    from warmup.caches.family_table import get_family
    from warmup.kernels.deep_gemm import private_cache
    from warmup.kernels.pool import Pool, WorkerSpec
    from warmup.kernels.rebuild import HANDLER, plan_rebuild
    from warmup.kernels.resources import get_num_workers

    assert options.rebuild_from is not None
    toolchain = _get_toolchain(session, session.vector)
    source = options.rebuild_from.absolute()
    cache_dir = (options.out or get_family("deep_gemm").get_roots(session.env)[0]).absolute()
    old = [*options.was_include, *_iter_old_includes(session)]
    plan = plan_rebuild(source, cache_dir, toolchain, list(dict.fromkeys(old)))
    with begin(session, "kernels") as work, private_cache(cache_dir, work.run_id) as building:
        count = get_num_workers(len(plan.jobs), options.jobs, _HOST_BYTES_EACH)
        spec = WorkerSpec(python=sys.executable, handler=HANDLER, args=(str(building),))
        pool = Pool(
            [spec] * count, env=session.env, cwd=work.run_dir, log=work.log, check=work.check
        )
        with pool:
            outcomes = pool.run(plan.jobs, work.on_outcome)
    notes = [f"{len(plan.valid)} entries are valid as they are"] if plan.valid else []
    notes += [f"{len(names)} entries: {why}" for why, names in plan.skipped.items()]
    return conclude(
        "rebuild",
        kernels=len(plan.jobs),
        failed=[f"{each.job.name}: {each.error}" for each in outcomes if each.error is not None],
        notes=notes,
        models=[],
        work=work,
        cache_dir=cache_dir,
        json_output=options.json_output,
        is_whole=not plan.skipped,
    )


def _get_toolchain(session: Session, vector: VersionVector) -> Toolchain:
    """nvcc as DeepGEMM will run it, and the package as it will spell it."""
    values = {each.name: each.value for each in vector.ingredients}
    include, nvcc = values[_INCLUDE].partition(", ")[0], values["nvcc_path"]
    nvcc = session.env.get("DG_JIT_NVCC_COMPILER") or nvcc
    if include == NONE:
        raise HostError(
            "DeepGEMM is not installed in the engine's environment",
            hint="name that environment's interpreter with --python; its headers are needed",
        )
    if nvcc == NONE:
        raise HostError("no nvcc", hint="set CUDA_HOME, or put nvcc on PATH; 12.3 or newer")
    return Toolchain(Path(include), nvcc, get_nvcc_text(nvcc))


def _iter_old_includes(session: Session) -> Iterator[Path]:
    """Where the package stood when this home's markers were written."""
    for marker in list_markers(session.home):
        if isinstance(marker, Marker):
            for each in marker.version_vector:
                if each.name == _INCLUDE and each.value != NONE:
                    yield from (Path(path) for path in each.value.split(", "))
