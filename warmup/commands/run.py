"""`warmup-ci run`: warm whatever is cold; skip what is provably warm."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from warmup.commands.session import Session
from warmup.launch.api import Launch
from warmup.report.api import (
    Events,
    ModelResult,
    Output,
    RunDocument,
    is_actions,
    open_view,
)
from warmup.state.api import MarkerCheck, make_run_id
from warmup.supervise.api import Limits
from warmup.words.errors import (
    EXIT_FAILED,
    EXIT_OK,
    Cancelled,
    HostError,
    UsageError,
    WarmupError,
    find_status,
)
from warmup.workflow.api import is_done, make_unlaunched


def run(
    session: Session,
    *,
    log_lines: int,
    max_log_bytes: int,
    force: bool = False,
    repair: bool = True,
    fail_fast: bool = False,
    jobs: str | None = None,
    json_output: bool = False,
    report_dir: Path | None = None,
    pull_from: str | None = None,
    push_to: str | None = None,
    sign: str | None = None,
    download: bool = False,
) -> int:
    """Warm the models that the session names. Returns the exit status.

    repair: whether hazards of the caches are done away with first, where that is safe. jobs: how
    many at once, or `auto`; None for one after the other. log_lines: of a server's log to show.
    max_log_bytes: of one log to keep on disk. report_dir: where every file of `report` is written
    at the end, however it comes. pull_from, push_to: packs to begin from, and to leave; sign: as
    `push`. download: fetch first what the hub's cache lacks, WarmupError where that fails. Raises
    UsageError before anything is launched, IntegrityError for a pack that the policy refuses, and
    HostError where the home cannot be used.
    """
    begin = time.monotonic()
    if session.seeding is not None:
        session.seeding.require_no_gpu(session.env)
    is_guarded = is_actions(session.environ)
    err = Output(sys.stderr, is_guarded)
    if download:
        from warmup.commands.download import download_missing

        download_missing(session, err, begin)
    for launch in session.get_launches():
        problem = session.find_problem(launch)
        if isinstance(problem, UsageError):  # a user's mistake is refused before the first launch
            raise problem
    deadline_s = session.resolved.deadline_s
    found = _Run(
        session=session,
        out=Output(sys.stdout, is_guarded),
        err=err,
        begin=begin,
        limits=Limits(
            deadline=None if deadline_s is None else begin + deadline_s,
            log_lines=log_lines,
            max_log_bytes=max_log_bytes,
        ),
        force=force,
        repair=repair,
        fail_fast=fail_fast,
        jobs=jobs,
        json_output=json_output,
        report_dir=report_dir,
    )
    if push_to is not None:
        from warmup.commands.push import check_push

        check_push(session, push_to, sign)
    if pull_from is not None:
        from warmup.commands.pull import pull_before_run

        pull_before_run(session, pull_from, found.err)
    status = found.execute()
    if push_to is not None:
        from warmup.commands.push import push_after_run

        push_after_run(session, push_to, sign, found.err)
    return status


@dataclass(kw_only=True)
class _Run:
    """One run: its order of things, its events and its results. begin: monotonic seconds."""

    session: Session
    out: Output
    err: Output
    begin: float
    limits: Limits
    force: bool
    repair: bool
    fail_fast: bool
    jobs: str | None
    json_output: bool
    report_dir: Path | None
    run_id: str = field(default_factory=make_run_id)
    results: list[ModelResult] = field(default_factory=list)
    errors: list[WarmupError] = field(default_factory=list)

    def execute(self) -> int:
        session, home, launches = self.session, self.session.home, self.session.launches
        # Looking needs no lock and no writable home.
        checks = [session.check(launch) for launch in launches]
        is_all_warm = all(map(self._is_done, launches, checks))
        run_dir = None
        if not is_all_warm or home.is_writable():  # valid markers of a read-only home count
            home.ensure()
            run_dir = home.make_run_dir(self.run_id)
        events = Events(run_dir and run_dir / "events.jsonl", session.redactor)
        close = open_view(
            events,
            self.out,
            self.err,
            environ=session.environ,
            json=self.json_output,
            secret_values=session.redactor.values,
        )
        live = None
        if self.report_dir is not None:
            from warmup.report.api import LiveReport

            live = LiveReport(self.report_dir, self.run_id, session.environ)
            events.subscribe(live)
        try:
            events.emit(
                "run_started",
                run_id=self.run_id,
                models=[launch.name for launch in launches],
                version_key=session.vector.key,
                price_per_gpu_hour=session.resolved.price_per_gpu_hour,
                target=session.resolved.gpu_target,
            )
            if is_all_warm or run_dir is None:
                for launch, check in zip(launches, checks, strict=True):
                    self._finish(events, make_unlaunched(launch, check, "warm"))
            else:
                if self.repair:
                    self._repair(events, checks)
                warm = self._warm if self.jobs is None else self._warm_side_by_side
                warm(events, run_dir, checks)
            is_success = all(result.is_success for result in self.results)
            status = find_status(self.errors) or (EXIT_OK if is_success else EXIT_FAILED)
            events.emit("run_finished", exit_code=status, seconds=time.monotonic() - self.begin)
        finally:
            close()
            events.close()
            if live is not None:
                try:
                    live.write(home.find_folder("runs"), home.path, self.err)
                except WarmupError as error:  # which says nothing about a model
                    self.err.line(f"warning: {error.reason}")
        self._conclude(status)
        return status

    def _is_done(self, launch: Launch, check: MarkerCheck) -> bool:
        return is_done(check, launch, force=self.force)

    def _repair(self, events: Events, checks: Sequence[MarkerCheck]) -> None:
        """In the caches of what is cold, before any server meets it."""
        from warmup.launch.api import get_engine
        from warmup.state.api import get_facts, repair_before_run

        session = self.session
        pairs = zip(session.launches, checks, strict=True)
        cold = [launch for launch, check in pairs if not self._is_done(launch, check)]
        families = sorted({name for each in cold for name in get_engine(each.engine).families})
        facts = get_facts(session)
        for done in repair_before_run(families, [session.get_env(each) for each in cold], facts):
            events.emit(
                "repaired", rule=done.rule, path=done.path, state=done.state, detail=done.detail
            )

    def _warm(self, events: Events, run_dir: Path, checks: Sequence[MarkerCheck]) -> None:
        # Loaded only now: a run that finds all warm pays for none of it.
        from warmup.supervise.api import Supervisor
        from warmup.warm import warm_model

        session, launches = self.session, self.session.launches
        with Supervisor(run_dir, warn=lambda text: events.emit("warning", text=text)) as supervisor:
            context = session.make_context(
                run_dir,
                supervisor,
                events,
                self.limits,
                visible_gpus=session.get_visible_gpus(),
                force=self.force,
            )
            why_skipped = ""
            for index, (launch, check) in enumerate(zip(launches, checks, strict=True), start=1):
                if why_skipped:
                    skipped = make_unlaunched(launch, check, "skipped", reason=why_skipped)
                    self._finish(events, skipped)
                elif self._is_done(launch, check):
                    self._finish(events, make_unlaunched(launch, check, "warm"))
                else:
                    result, error = warm_model(launch, context, (index, len(launches)))
                    self._finish(events, result)
                    why_skipped = self._note(launch, error, supervisor.find_cancelled())
                    if result.survivors and not why_skipped:
                        left = "; ".join(result.survivors)
                        why_skipped = f"processes of {launch.name} could not be ended: {left}"

    def _warm_side_by_side(
        self, events: Events, run_dir: Path, checks: Sequence[MarkerCheck]
    ) -> None:
        """The same with a child process for each model, as many as fit."""
        from warmup.commands.side_by_side import warm_side_by_side

        def finish(result: ModelResult, error: WarmupError | None) -> None:
            self._finish(events, result)
            if error is not None:
                self.errors.append(error)

        cancelled = warm_side_by_side(
            self.session,
            run_dir,
            events,
            finish,
            checks,
            self.jobs or "auto",
            limits=self.limits,
            force=self.force,
            fail_fast=self.fail_fast,
        )
        if cancelled is not None:
            self.errors.append(cancelled)
        names = [launch.name for launch in self.session.launches]
        self.results.sort(key=lambda result: names.index(result.name))

    def _note(self, launch: Launch, error: WarmupError | None, cancelled: Cancelled | None) -> str:
        """Keep the errors. Returns why the models after this one are skipped; "" if they are not.

        cancelled: a signal may come while a server is being stopped, where nothing is raised.
        """
        if error is not None and not isinstance(error, Cancelled):
            self.errors.append(error)
        if cancelled is not None:
            self.errors.append(cancelled)
            return cancelled.what
        has_to_end = error is not None and self.fail_fast
        return f"{launch.name} failed and --fail-fast was given" if has_to_end else ""

    def _finish(self, events: Events, result: ModelResult) -> None:
        result = result.redact(self.session.redactor)
        self.results.append(result)
        events.finish(result)

    def _conclude(self, status: int) -> None:
        """Errors in full on stderr, where the log above them ends; then the document."""
        for error in self.errors:
            error.redact(self.session.redactor.redact)
            self.err.line(error.render())
        if self.json_output:
            document = RunDocument(
                run_id=self.run_id,
                exit_code=status,
                version_key=self.session.vector.key,
                models=tuple(self.results),
            )
            self.out.document(document.encode())
        if self.out.fault is not None:
            raise HostError(
                "cannot write to stdout",
                cause=self.out.fault.strerror,
                hint=f"what the run found is in {self.session.home.runs / self.run_id}",
            )
