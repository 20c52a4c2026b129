"""`warmup-ci plan`: what `run` would do and why, launching nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import msgspec

from warmup.commands.session import Session
from warmup.launch.api import Allocation, Launch, get_engine, get_server_argv
from warmup.report.api import get_column, get_label, get_short_names, show
from warmup.state.api import Marker, MarkerCheck, get_state, list_markers
from warmup.words.errors import EXIT_OK, HostError, UsageError, WarmupError
from warmup.workflow.api import (
    assign,
    find_recorded,
    get_reason,
    is_done,
    make_matrix,
    parse_runner,
)


class PlannedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model's part of `plan --json`.

    argv: the exact command, with the ports that are free now. gpus: device names, "" without one.
    problem: why `run` would fail it at once, None where nothing is in its way. target: the GPUs,
    not here, that a seed would be made for; "" for this machine's.
    """

    model: str
    tp: int
    engine: str
    state: str
    reason: str
    argv: tuple[str, ...]
    gpus: str
    marker: str | None
    problem: str | None
    target: str = ""


class PlanDocument(msgspec.Struct, frozen=True, kw_only=True):
    schema: int = 1
    exit_code: int = EXIT_OK
    version_key: str
    models: tuple[PlannedModel, ...]


def plan(
    session: Session,
    *,
    force: bool = False,
    matrix: bool = False,
    shards: int | None = None,
    runner: Sequence[str] = (),
    json_output: bool = False,
) -> int:
    """Print state, reason, argv and GPUs of each model. Returns 0, whatever it finds.

    matrix: print the jobs of a fleet instead, for GitHub's `fromJSON`. shards: how many; None for
    one a model. runner: classes of runners, `CLASS=LABEL,…`.
    Raises UsageError for wrong flags, workflow or models.
    """
    if matrix:
        return _plan_matrix(session, shards, runner)
    if shards is not None or runner:
        raise UsageError("--shards and --runner are of --matrix", hint="add --matrix")
    launches = session.get_launches()
    visible = session.get_visible_gpus()
    models = tuple(_plan(session, launch, visible, force) for launch in launches)
    document = PlanDocument(version_key=session.vector.key, models=models)
    show(document, _render(models), json_output=json_output)
    return EXIT_OK


def _plan_matrix(session: Session, num_shards: int | None, runners: Sequence[str]) -> int:
    launches = session.get_launches()
    classes = [parse_runner(text) for text in runners]
    markers = [each for each in list_markers(session.home) if isinstance(each, Marker)]
    recorded = find_recorded(launches, markers)
    found = make_matrix(launches, recorded, num_shards=num_shards, runners=classes)
    show(found, (), json_output=True)
    return EXIT_OK


def _render(models: Sequence[PlannedModel]) -> Iterator[str]:
    names = [f"{model.model}:{model.tp}" for model in models]
    shorts = get_short_names(names)
    for name, model in zip(names, models, strict=True):
        label = get_label(shorts[name], get_column(shorts.values()))
        yield f"{label} {model.state}: {model.reason}"
        yield f"    argv: {shlex.join(model.argv)}"
        yield f"    gpus: {model.gpus or 'none'}{f' of {model.target}' if model.target else ''}"
        if model.target and model.state == "cold":
            yield "    would be seeded: its marker will not say warm before a boot on such a GPU"
        if model.problem is not None:
            yield f"    problem: {model.problem}"


def _plan(session: Session, launch: Launch, visible: tuple[str, ...], force: bool) -> PlannedModel:
    from warmup.supervise.api import peek_ports

    engine = get_engine(launch.engine)
    problem = session.find_problem(launch)
    try:
        check = session.check(launch)
    except HostError as error:
        check, problem = MarkerCheck(state="unreadable", reason=error.reason), error
    argv: tuple[str, ...] = ()
    gpus = ""
    try:
        gpus = assign(launch.tp, visible, is_required=launch.engine != "command")
        ports = peek_ports(session.home.locks, 1 + engine.num_extra_ports)
        allocation = Allocation(
            port=ports[0],
            extra_ports=ports[1:],
            gpus=gpus,
            run_dir=str(session.home.runs / "RUN_ID"),
            workflow_dir=launch.workflow_dir,
        )
        argv, _ = get_server_argv(
            session.get_boot_launch(launch),
            engine,
            allocation,
            lambda name: session.get_vector(launch).find_engine_version(name),
        )
    except WarmupError as error:
        problem = problem or error
    return PlannedModel(
        model=launch.label,
        tp=launch.tp,
        engine=launch.engine,
        state=_get_state(check, launch, force=force),
        reason=session.redactor.redact(get_reason(check, launch, force=force)),
        argv=session.redactor.redact_argv(argv),
        gpus=gpus,
        marker=str(check.path) if check.is_warm or check.state == "seeded" else None,
        problem=None if problem is None else session.redactor.redact(problem.reason),
        target="" if session.seeding is None else str(session.seeding.target),
    )


def _get_state(check: MarkerCheck, launch: Launch, *, force: bool) -> str:
    if is_done(check, launch, force=force):
        return get_state(check)
    return "seeded" if check.state == "seeded" and not force else "cold"
