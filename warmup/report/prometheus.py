"""`report --prometheus`: the newest run as metrics, for node_exporter's textfile collector.

prometheus.io/docs/instrumenting/exposition_formats, text format 0.0.4: base units, one `TYPE` for
each name, no timestamps (the textfile collector refuses them). No run: the totals alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from warmup.report.history import History
from warmup.report.record import RunRecord
from warmup.words.escape import get_printable

_Sample = tuple[str, str, dict[str, str], float]  # metric, its help, labels, value


def make_prometheus(history: History) -> str:
    samples: dict[str, list[_Sample]] = {}
    for sample in _iter_samples(history):
        samples.setdefault(sample[0], []).append(sample)
    lines: list[str] = []
    for name, found in samples.items():
        lines += [f"# HELP {name} {found[0][1]}", f"# TYPE {name} gauge"]
        for _, _, labels, value in found:
            said = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
            lines.append(f"{name}{f'{{{said}}}' if said else ''} {value:.15g}")
    return "\n".join(lines) + "\n"


def _iter_samples(history: History) -> Iterator[_Sample]:
    hours = sum(run.gpu_hours for run in history.briefs)
    yield "warmup_ci_runs", "Runs that the home holds.", {}, len(history.briefs)
    yield "warmup_ci_all_gpu_seconds", "GPU-seconds of all these runs.", {}, hours * 3600
    if history.newest is not None:
        yield from _iter_run(history.newest)


def _iter_run(run: RunRecord) -> Iterator[_Sample]:
    about = {"run_id": run.run_id, "version_key": run.version_key}
    yield "warmup_ci_run_info", "The newest run.", about, 1
    yield "warmup_ci_run_start_time_seconds", "When it began.", {}, run.begin
    yield "warmup_ci_run_duration_seconds", "How long it took.", {}, run.seconds
    yield "warmup_ci_run_finished", "Whether it came to its end.", {}, run.exit_code is not None
    if run.exit_code is not None:
        yield "warmup_ci_run_exit_code", "Its exit status.", {}, run.exit_code
    yield "warmup_ci_gpu_seconds", "TP times seconds, over its models.", {}, run.gpu_hours * 3600
    saved = run.gpu_hours_saved * 3600
    yield "warmup_ci_gpu_seconds_saved", "The same, done without GPUs (--target).", {}, saved
    if run.price:
        yield "warmup_ci_cost", "What that cost, in the price's currency.", {}, run.cost
    for model in run.models.values():
        name = {"model": model.name}
        said = {**name, "engine": model.engine, "tp": str(model.tp), "state": model.state}
        yield "warmup_ci_model_info", "State and launch of a model.", said, 1
        yield "warmup_ci_model_warm", "Whether it is warm now.", name, model.is_warm
        yield "warmup_ci_model_duration_seconds", "How long it took.", name, model.seconds
        phases: dict[str, float] = {}
        for span in model.spans:
            phases[span.name] = phases.get(span.name, 0.0) + span.seconds
        for phase, seconds in phases.items():
            labels = {**name, "phase": phase}
            yield "warmup_ci_phase_duration_seconds", "Seconds of a phase.", labels, seconds
        for family, count in model.new_entries.items():
            labels = {**name, "family": family}
            yield "warmup_ci_new_entries", "JIT cache entries that it added.", labels, count


def _escape(value: str) -> str:
    return get_printable(value).replace("\\", "\\\\").replace('"', '\\"')
