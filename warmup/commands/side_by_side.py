"""`run --jobs`: what is free on this host, what each model needs of it, and the jobs themselves."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from warmup.commands.session import Session
from warmup.jobs import Jobs, Task
from warmup.launch.api import Launch
from warmup.report.api import Events, ModelResult
from warmup.state.api import Marker, MarkerCheck, list_markers
from warmup.supervise.api import Limits, Supervisor
from warmup.words.errors import Cancelled, WarmupError
from warmup.workflow.api import (
    Slots,
    find_recorded,
    get_default_seconds,
    is_done,
    make_log_names,
    make_unlaunched,
)

_WEIGHTS = (".safetensors", ".bin", ".pt", ".gguf")


def warm_side_by_side(
    session: Session,
    run_dir: Path,
    events: Events,
    finish: Callable[[ModelResult, WarmupError | None], None],
    checks: Sequence[MarkerCheck],
    num_jobs: str,
    *,
    limits: Limits,
    force: bool,
    fail_fast: bool,
) -> Cancelled | None:
    """The models of one run, as many at once as fit. Returns what ended the run early.

    finish: told of each result with its error, once. checks: of the session's launches. num_jobs:
    a number, or `auto`.
    """
    import psutil

    slots = Slots(
        max_jobs=None if num_jobs == "auto" else int(num_jobs),
        # A target's GPUs are not here, so each model has its own.
        gpus=[] if session.seeding is not None else [*session.get_visible_gpus()],
        cores=len(os.sched_getaffinity(0)),
        size_bytes=psutil.virtual_memory().available,
    )
    with Supervisor(run_dir, warn=lambda text: events.emit("warning", text=text)) as supervisor:
        jobs = Jobs(
            home=session.home,
            run_dir=run_dir,
            supervisor=supervisor,
            events=events,
            redactor=session.redactor,
            resolved=session.resolved,
            slots=slots,
            log_names=make_log_names(session.launches),
            finish=finish,
            limits=limits,
            force=force,
            fail_fast=fail_fast,
        )
        cold = []
        for index, (launch, check) in enumerate(zip(session.launches, checks, strict=True)):
            if is_done(check, launch, force=force):
                finish(make_unlaunched(launch, check, "warm"), None)
            else:
                cold.append((index, launch, check))
        jobs.run(_make_tasks(session, slots, cold, force=force))
        return supervisor.find_cancelled()


def _make_tasks(
    session: Session,
    slots: Slots,
    cold: Sequence[tuple[int, Launch, MarkerCheck]],
    *,
    force: bool,
) -> list[Task]:
    markers = [each for each in list_markers(session.home) if isinstance(each, Marker)]
    recorded = find_recorded([launch for _, launch, _ in cold], markers)
    return [
        Task(
            launch=launch,
            check=check,
            index=index,
            cost=seconds or get_default_seconds(launch),
            need=slots.get_need(launch, _find_weights_bytes(session, launch)),
            is_alone=check.state == "seeded" and not force,
        )
        for (index, launch, check), seconds in zip(cold, recorded, strict=True)
    ]


def _find_weights_bytes(session: Session, launch: Launch) -> int:
    """0 where they are not here yet, or not needed: on a target they are random."""
    if session.get_boot_launch(launch).weights == "dummy":
        return 0
    folder = launch.find_files(session.env)
    if folder is None or not folder.is_dir():
        return 0
    files = (path for path in folder.rglob("*") if path.suffix in _WEIGHTS)
    return sum(path.stat().st_size for path in files if path.is_file())
