"""`run --jobs`: what is free on this host, what each model needs of it, and the jobs themselves."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from warmup.commands.session import Session
from warmup.jobs import Jobs, Task
from warmup.launch.api import Launch
from warmup.report.api import Events, ModelResult
from warmup.state.api import Marker, MarkerCheck, list_markers
from warmup.supervise.api import Supervisor
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


@dataclass(frozen=True, kw_only=True)
class AtOnce:
    """The models of one run side by side. finish: told of each result with its error, once."""

    session: Session
    run_dir: Path
    events: Events
    finish: Callable[[ModelResult, WarmupError | None], None]
    deadline: float | None
    force: bool
    fail_fast: bool
    log_lines: int
    max_log_bytes: int

    def run(self, checks: Sequence[MarkerCheck], num_jobs: str) -> Cancelled | None:
        """num_jobs: a number, or `auto`. Answers what ended the run early."""
        session, events = self.session, self.events
        slots = self._make_slots(num_jobs)
        warn = lambda text: events.emit("warning", text=text)  # noqa: E731
        with Supervisor(self.run_dir, warn=warn) as supervisor:
            jobs = Jobs(
                home=session.home,
                run_dir=self.run_dir,
                supervisor=supervisor,
                events=events,
                redactor=session.redactor,
                resolved=session.resolved,
                slots=slots,
                log_names=make_log_names(session.launches),
                finish=self.finish,
                deadline=self.deadline,
                force=self.force,
                fail_fast=self.fail_fast,
                log_lines=self.log_lines,
                max_log_bytes=self.max_log_bytes,
            )
            jobs.run(self._make_tasks(slots, self._finish_warm(checks)))
            return supervisor.find_cancelled()

    def _finish_warm(self, checks: Sequence[MarkerCheck]) -> list[tuple[int, Launch, MarkerCheck]]:
        """The others: place among the launches, launch, and what its marker says."""
        cold = []
        for index, (launch, check) in enumerate(zip(self.session.launches, checks, strict=True)):
            if is_done(check, launch, force=self.force):
                self.finish(make_unlaunched(launch, check, "warm"), None)
            else:
                cold.append((index, launch, check))
        return cold

    def _make_slots(self, num_jobs: str) -> Slots:
        """A target's GPUs are not here, so each model has its own."""
        import psutil

        session = self.session
        return Slots(
            max_jobs=None if num_jobs == "auto" else int(num_jobs),
            gpus=[] if session.seeding is not None else [*session.get_visible_gpus()],
            cores=len(os.sched_getaffinity(0)),
            size_bytes=psutil.virtual_memory().available,
        )

    def _make_tasks(
        self, slots: Slots, cold: Sequence[tuple[int, Launch, MarkerCheck]]
    ) -> list[Task]:
        markers = [each for each in list_markers(self.session.home) if isinstance(each, Marker)]
        recorded = find_recorded([launch for _, launch, _ in cold], markers)
        return [
            Task(
                launch=launch,
                check=check,
                index=index,
                cost=seconds or get_default_seconds(launch),
                need=slots.get_need(launch, self._find_weights_bytes(launch)),
                is_alone=check.state == "seeded" and not self.force,
            )
            for (index, launch, check), seconds in zip(cold, recorded, strict=True)
        ]

    def _find_weights_bytes(self, launch: Launch) -> int:
        """0 where they are not here yet, or not needed: on a target they are random."""
        session = self.session
        if session.get_boot_launch(launch).weights == "dummy":
            return 0
        folder = launch.find_files(session.env)
        if folder is None or not folder.is_dir():
            return 0
        files = (path for path in folder.rglob("*") if path.suffix in _WEIGHTS)
        return sum(path.stat().st_size for path in files if path.is_file())
