"""One model of `run --jobs`, in a process of its own: `python -m warmup.commands.job DESCRIPTOR`.

Reads what to do from stdin, and writes events, the result and its error to that descriptor, one
JSON a line.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from warmup.commands.session import Session
from warmup.report.api import Event, Events
from warmup.supervise.api import Supervisor, die_with, find_missing_guarantees
from warmup.warm import warm_model
from warmup.words.encoding import encode_json
from warmup.words.errors import WarmupError
from warmup.workflow.api import JobError, JobSpec, Resolved, Selection


@dataclass(frozen=True, kw_only=True)
class _JobSession(Session):
    """The session of the run, whose workflow was read once, by the run."""

    given: Resolved

    @cached_property
    def resolved(self) -> Resolved:
        return self.given


def job() -> None:
    """Warm the one model that stdin tells of. Where no result is told, an error is."""
    _get_answers()  # before anything is started that could inherit it
    spec = JobSpec.decode(sys.stdin.buffer.read())
    if not die_with(spec.parent):
        return  # nobody is left to be told
    try:
        _warm(spec)
    except WarmupError as error:
        _tell("job_error", None, JobError.make(error))


def _warm(spec: JobSpec) -> None:
    session = _JobSession(selection=Selection(), given=spec.resolved)
    launches = session.launches
    launch = launches[spec.index]
    if not spec.is_alone:
        launch = msgspec.structs.replace(launch, prove=False)
    events = Events(None, session.redactor)
    events.subscribe(_forward)
    session.home.make_run_dir(spec.run_id)
    told = set(find_missing_guarantees())  # the run itself has told of these

    def warn(text: str) -> None:
        if text not in told:
            events.emit("warning", launch.name, text=text)

    with Supervisor(session.home.runs / spec.run_id, warn=warn) as supervisor:
        context = session.make_context(
            Path(spec.run_dir),
            supervisor,
            events,
            spec.limits,
            visible_gpus=spec.gpus if session.seeding is None else session.seeding.visible_gpus,
            force=spec.force,
            is_alone=spec.is_alone,
        )
        result, error = warm_model(launch, context, (spec.index + 1, len(launches)))
    if error is not None:
        _tell("job_error", launch.name, JobError.make(error))
    _tell("job_result", launch.name, result.redact(session.redactor))
    if not result.survivors:  # else `reap` needs the ledger
        session.home.get_folder("runs").remove(spec.run_id)


def _forward(event: Event) -> None:
    _tell(event.kind, event.model, event.data)


def _tell(kind: str, model: str | None, data: Any) -> None:
    line = encode_json({"kind": kind, "model": model, "data": data}) + b"\n"
    with contextlib.suppress(BrokenPipeError):  # the run is dead, and so are we in a moment
        _get_answers().write(line)
        _get_answers().flush()


@cache
def _get_answers() -> BinaryIO:
    """Its end says that we have ended: nobody who outlives us may hold it."""
    os.set_inheritable(int(sys.argv[1]), False)
    return os.fdopen(int(sys.argv[1]), "wb")


if __name__ == "__main__":
    job()
