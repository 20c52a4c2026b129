"""`warmup-ci run`: warm whatever is cold; skip what is provably warm."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from warmup.commands.session import Session
from warmup.launch.api import Launch
from warmup.report.api import (
    Actions,
    Console,
    Events,
    ModelResult,
    Output,
    RunDocument,
    is_actions,
    open_live_report,
)
from warmup.state.api import MarkerCheck, make_run_id
from warmup.words.errors import (
    EXIT_FAILED,
    EXIT_HOST,
    EXIT_OK,
    Cancelled,
    HostError,
    UsageError,
    WarmupError,
)
from warmup.workflow.api import is_done, make_log_names, make_unlaunched

if TYPE_CHECKING:
    from warmup.report.api import LiveReport


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
) -> int:
    """Warm the models that the session names. Returns the exit status.

    repair: whether hazards of the caches are done away with first, where that is safe. jobs: how
    many at once, or `auto`; None for one after the other. log_lines: of a server's log to show.
    max_log_bytes: of one log to keep on disk. report_dir: where every file of `report` is written
    at the end, however it comes. pull_from, push_to: packs to begin from, and to leave; sign: as
    `push`. Raises UsageError before anything is launched, IntegrityError for a pack that the policy
    refuses, and HostError where the home cannot be used.
    """
    begin = time.monotonic()
    if session.seeding is not None:
        session.seeding.require_no_gpu(session.env)
    for launch in session.get_launches():
        problem = session.find_problem(launch)
        if isinstance(problem, UsageError):  # a user's mistake is refused before the first launch
            raise problem
    is_guarded = is_actions(session.environ)
    out, err = Output(sys.stdout, is_guarded), Output(sys.stderr, is_guarded)
    found = _Run(
        session=session,
        out=out,
        err=err,
        begin=begin,
        log_lines=log_lines,
        max_log_bytes=max_log_bytes,
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

        pull_before_run(session, pull_from, err)
    status = found.execute()
    if push_to is not None:
        from warmup.commands.push import push_after_run

        push_after_run(session, push_to, sign, err)
    return status


@dataclass(kw_only=True)
class _Run:
    """One run: its order of things, its events and its results. begin: monotonic seconds."""

    session: Session
    out: Output
    err: Output
    begin: float
    log_lines: int
    max_log_bytes: int
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
        launches = self.session.launches
        # Looking needs no lock and no writable home.
        checks = [self.session.check(launch) for launch in launches]
        is_all_warm = all(
            is_done(check, launch, force=self.force)
            for check, launch in zip(checks, launches, strict=True)
        )
        home, run_dir = self.session.home, None
        if not is_all_warm or home.is_writable():  # valid markers of a read-only home count
            home.ensure()
            run_dir = home.make_run_dir(self.run_id)
        redactor = self.session.redactor
        events = Events(run_dir and run_dir / "events.jsonl", redactor)
        close = self._subscribe(events)
        live = self._open_report()
        if live is not None:
            events.subscribe(live)
        try:
            events.emit(
                "run_started",
                run_id=self.run_id,
                models=[launch.name for launch in launches],
                version_key=self.session.vector.key,
                price_per_gpu_hour=self.session.resolved.price_per_gpu_hour,
                target=self.session.resolved.gpu_target,
            )
            if is_all_warm or run_dir is None:
                for launch, check in zip(launches, checks, strict=True):
                    self._finish(events, make_unlaunched(launch, check, "warm"))
            else:
                if self.repair:
                    self._repair(events, checks)
                if self.jobs is None:
                    self._warm(events, run_dir, checks)
                else:
                    self._warm_at_once(events, run_dir, checks, self.jobs)
            status = self._get_exit_status()
            events.emit("run_finished", exit_code=status, seconds=time.monotonic() - self.begin)
        finally:
            close()
            events.close()
            if live is not None:
                self._write_report(live)
        self._conclude(status)
        return status

    def _open_report(self) -> LiveReport | None:
        """Raises HostError where its folder cannot be made."""
        if self.report_dir is None:
            return None
        return open_live_report(self.report_dir, self.run_id, self.session.environ)

    def _write_report(self, live: LiveReport) -> None:
        """What cannot be written says nothing about a model: it is told, and that is all."""
        home = self.session.home
        try:
            live.write(home.find_folder("runs"), home.path, self.err)
        except WarmupError as error:
            self.err.line(f"warning: {error.reason}")

    def _subscribe(self, events: Events) -> Callable[[], None]:
        """Attach the view of this place; returns what takes its moving line away."""
        console = Console(self.out, self.err, environ=self.session.environ, json=self.json_output)
        if not is_actions(self.session.environ):
            events.subscribe(console)
            return console.close
        secrets = self.session.redactor.values
        actions = Actions(console, self.err, environ=self.session.environ, secret_values=secrets)
        events.subscribe(actions)

        def close() -> None:
            console.close()
            actions.close()

        return close

    def _repair(self, events: Events, checks: Sequence[MarkerCheck]) -> None:
        """In the caches of what is cold, before any server meets it."""
        from warmup.launch.api import get_engine
        from warmup.state.api import get_facts, repair_before_run

        session = self.session
        cold = [
            launch
            for launch, check in zip(session.launches, checks, strict=True)
            if not is_done(check, launch, force=self.force)
        ]
        families = sorted({name for each in cold for name in get_engine(each.engine).families})
        facts = get_facts(session.env, session.vector)
        for done in repair_before_run(families, [session.get_env(each) for each in cold], facts):
            events.emit(
                "repaired", rule=done.rule, path=done.path, state=done.state, detail=done.detail
            )

    @property
    def _deadline(self) -> float | None:
        deadline_s = self.session.resolved.deadline_s
        return None if deadline_s is None else self.begin + deadline_s

    def _warm(self, events: Events, run_dir: Path, checks: Sequence[MarkerCheck]) -> None:
        # Loaded only now: a run that finds all warm pays for none of it.
        from warmup.attempt import RunContext
        from warmup.supervise.api import Supervisor
        from warmup.warm import warm_model

        launches = self.session.launches
        with Supervisor(run_dir, warn=lambda text: events.emit("warning", text=text)) as supervisor:
            step = RunContext(
                home=self.session.home,
                run_dir=run_dir,
                supervisor=supervisor,
                events=events,
                redactor=self.session.redactor,
                env=self.session.env,
                check=self.session.check,
                get_vector=self.session.get_vector,
                log_names=make_log_names(launches),
                visible_gpus=self.session.get_visible_gpus(),
                seeding=self.session.seeding,
                deadline=self._deadline,
                force=self.force,
                log_lines=self.log_lines,
                max_log_bytes=self.max_log_bytes,
            )
            why_skipped = ""
            for index, (launch, check) in enumerate(zip(launches, checks, strict=True), start=1):
                if why_skipped:
                    skipped = make_unlaunched(launch, check, "skipped", reason=why_skipped)
                    self._finish(events, skipped)
                elif is_done(check, launch, force=self.force):
                    self._finish(events, make_unlaunched(launch, check, "warm"))
                else:
                    result, error = warm_model(launch, step, (index, len(launches)))
                    self._finish(events, result)
                    why_skipped = self._note(launch, error, supervisor.find_cancelled())
                    if result.survivors and not why_skipped:
                        left = "; ".join(result.survivors)
                        why_skipped = f"processes of {launch.name} could not be ended: {left}"

    def _warm_at_once(
        self, events: Events, run_dir: Path, checks: Sequence[MarkerCheck], num_jobs: str
    ) -> None:
        """The same with a child process for each model, as many as fit."""
        from warmup.commands.side_by_side import AtOnce

        def finish(result: ModelResult, error: WarmupError | None) -> None:
            self._finish(events, result)
            if error is not None:
                self.errors.append(error)

        found = AtOnce(
            session=self.session,
            run_dir=run_dir,
            events=events,
            finish=finish,
            deadline=self._deadline,
            force=self.force,
            fail_fast=self.fail_fast,
            log_lines=self.log_lines,
            max_log_bytes=self.max_log_bytes,
        )
        if (cancelled := found.run(checks, num_jobs)) is not None:
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

    def _get_exit_status(self) -> int:
        for error in self.errors:
            if isinstance(error, Cancelled):
                return error.exit_status
        if any(error.exit_status == EXIT_HOST for error in self.errors):
            return EXIT_HOST
        return EXIT_OK if all(result.is_success for result in self.results) else EXIT_FAILED

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
