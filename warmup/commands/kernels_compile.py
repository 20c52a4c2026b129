"""`warmup-ci kernels MODEL…`: DeepGEMM's kernels, compiled here for the GPUs of this host."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from warmup.commands.kernels import KernelOptions
from warmup.commands.kernels_list import derive_launch
from warmup.commands.kernels_session import begin, conclude
from warmup.commands.session import Session
from warmup.kernels.derive import ModelShapes, merge_asks
from warmup.report.output import Output
from warmup.words.errors import UsageError
from warmup.words.escape import get_printable


def compile_kernels(session: Session, options: KernelOptions) -> int:
    """Every kernel of every model whose shapes can be derived; others are told, and status 1.

    Raises HostError where DeepGEMM or a fitting GPU is missing.
    """
    from warmup.kernels.deep_gemm import Setting, compile_shapes

    models = [derive_launch(session, launch) for launch in session.launches]
    _tell_fallbacks(models)
    derived = [model for model in models if model.shapes]
    if not derived:
        raise UsageError(
            "no model's kernels can be derived from its config",
            cause="; ".join(f"{model.name}: {model.reason}" for model in models),
            hint="`warmup-ci run` lets the servers compile them",
        )
    pythons = {launch.python for launch in session.launches}
    if len(pythons) > 1:
        raise UsageError("the models' engines have different interpreters: name them apart")
    launch = next(
        each for each, model in zip(session.launches, models, strict=True) if model.shapes
    )
    with begin(session, "kernels") as work:
        setting = Setting(
            engine="sglang" if launch.engine == "reference" else launch.engine,
            python=launch.python,
            env=session.get_env(launch),
            run_dir=work.run_dir,
            name=work.run_id,
            num_jobs=options.jobs,
            full=options.full,
            out=options.out,
            check=work.check,
        )
        result = compile_shapes(merge_asks(derived), setting, work.on_outcome)
    return conclude(
        "compile",
        kernels=result.num_kernels,
        failed=result.failed,
        notes=result.notes,
        models=[model.to_data() for model in models],
        work=work,
        cache_dir=result.cache_dir,
        json_output=options.json_output,
        is_whole=len(derived) == len(models),
    )


def _tell_fallbacks(models: Sequence[ModelShapes]) -> None:
    err = Output(sys.stderr)
    for model in models:
        if model.strategy == "server":
            text = f"{model.name}: left to its server, since {model.reason}"
            err.line(get_printable(text))
