"""`warmup-ci kernels --list`: shapes, their count, and the Ms that cover every kernel of them."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from warmup.commands.session import Session
from warmup.kernels.derive import ModelShapes, derive
from warmup.kernels.selection import H200_SMS, Kernel
from warmup.launch.launch import Launch
from warmup.report.output import Output
from warmup.words.encoding import encode_json
from warmup.words.errors import EXIT_OK
from warmup.words.escape import get_printable


def derive_launch(session: Session, launch: Launch) -> ModelShapes:
    """Raises UsageError for a config or sizes that no engine could serve.

    A model that no workflow describes has the embedded engine's name, which multiplies nothing
    through DeepGEMM unless told to: its shapes are sglang's.
    """
    engine = "sglang" if launch.engine == "reference" else launch.engine
    return derive(
        model=launch.model,
        label=launch.label,
        tp=launch.tp,
        engine=engine,
        args=launch.fallback_args,
        env=session.get_env(launch),
        revision=launch.revision,
    )


def list_kernels(session: Session, *, full: bool, json_output: bool) -> int:
    """Print every model's shapes. Returns 0, also where a model falls back to its server."""
    models = [derive_launch(session, launch) for launch in session.launches]
    out = Output(sys.stdout)
    if json_output:
        document = {"schema": 1, "models": [model.to_data() for model in models]}
        out.line(encode_json(document).decode())
        return EXIT_OK
    num_sms, whose = _get_sms()
    for index, model in enumerate(models):
        out.line(f"{get_printable(model.name)}: {model.strategy}")
        out.line(f"    {get_printable(model.reason)}")
        if model.shapes:
            same = _find_same(model, models[:index])
            if same is not None:
                out.line(f"    the same shapes as {get_printable(same)}: compiled once")
                continue
            _print_shapes(out, model, num_sms, full)
    if any(model.shapes for model in models):
        out.line(f"M: {_explain(full)}, for {num_sms} SMs ({whose})")
    return EXIT_OK


def _print_shapes(out: Output, model: ModelShapes, num_sms: int, full: bool) -> None:
    from warmup.kernels.m_values import choose_ms, get_sweep

    kernels: set[Kernel] = set()
    for ask, max_m in model.asks.items():
        chosen = choose_ms(ask.shape, max_m, ask.get_num_sms(num_sms))
        kernels.update(chosen.values())
        told = "M " + " ".join(str(m) for m in chosen)
        if full:
            sweep = get_sweep(ask.shape, max_m)
            told = f"{len(sweep)} Ms, {sweep[0]} to {sweep[-1]}"
        out.line(f"    {ask}: {told}")
    out.line(f"    {len(model.shapes)} shapes, {len(kernels)} kernels, M up to {model.max_m}")


def _explain(full: bool) -> str:
    if full:
        return "the whole sweep, as the engine's own warm-up calls it"
    return (
        "the smallest for each kernel that DeepGEMM selects; its choice can change only past 16, "
        "past 32 and past multiples of 64 (of 128 in the contiguous layout)"
    )


def _find_same(model: ModelShapes, before: Sequence[ModelShapes]) -> str | None:
    for other in before:
        if other.asks == model.asks:
            return other.name
    return None


def _get_sms() -> tuple[int, str]:
    """SMs of this host's GPUs, which the choice of kernels depends on; an H200's without any."""
    from warmup.state.gpus import read_gpus

    facts = read_gpus()
    if facts.sm_count.isdigit():
        return int(facts.sm_count), facts.names
    return H200_SMS, "an H200's: no GPU to ask here"
