"""Several models at once: each in a child process of its own, on GPUs of its own.

The child (`warmup.commands.job`) supervises its server exactly as a run of one model does. This
process starts children, hands on what they tell, passes signals on, and ends what a killed child
left. It is single-threaded, so nothing of two models is mixed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from warmup.launch.api import Launch
from warmup.report.api import Events, ModelResult
from warmup.state.api import Home, MarkerCheck
from warmup.supervise.api import (
    ANSWERS,
    Gpu,
    Job,
    Limits,
    Supervisor,
    read_gpus,
    read_tail,
    reap_run,
    select_gpus,
    wait_until_free,
)
from warmup.words.errors import HostError, WarmupError
from warmup.words.secrets import Redactor
from warmup.workflow.api import (
    JobError,
    JobSpec,
    Need,
    Resolved,
    Slots,
    make_unlaunched,
    merge_proof,
)

# What a cancelled child may take: 2 s of its server's grace, and the time to end the tree. GitHub's
# runner kills this process 10 s after its SIGINT.
CANCEL_LIMIT_S = 6.0
_MEMORY_TIMEOUT_S = 60.0
_TICK_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Task:
    """One model of the run. index: its place among the launches. cost: expected seconds.

    is_alone: whether nobody else may compile meanwhile, since it must compile nothing: a proof, or
    the boot that confirms a seed. warmed: the result of a first boot that only lacks its proof.
    """

    launch: Launch
    check: MarkerCheck
    index: int
    cost: int
    need: Need
    is_alone: bool = False
    warmed: ModelResult | None = None


@dataclass(kw_only=True)
class _Running:
    task: Task
    job: Job
    run_id: str
    gpus: tuple[str, ...]
    gpus_before: list[Gpu]
    errors: Path
    started: float = field(default_factory=time.monotonic)
    has_tail: bool = False
    result: ModelResult | None = None
    error: WarmupError | None = None


@dataclass(kw_only=True)
class Jobs:
    """The jobs of one run. finish: told of each result with its error, once a model.

    fail_fast: whether a failure ends all that run. log_names: see `RunContext`.
    """

    home: Home
    run_dir: Path
    supervisor: Supervisor
    events: Events
    redactor: Redactor
    resolved: Resolved
    slots: Slots
    log_names: Mapping[str, str]
    finish: Callable[[ModelResult, WarmupError | None], None]
    limits: Limits
    force: bool
    fail_fast: bool
    _running: list[_Running] = field(default_factory=list)
    _waiting: list[Task] = field(default_factory=list)
    _alone: list[Task] = field(default_factory=list)
    _num_started: int = 0
    _num_signals: int = 0
    _kill_at: float = float("inf")
    _why_skipped: str = ""

    def run(self, tasks: Sequence[Task]) -> None:
        """Warm all, longest first. Whatever happens, no child lives on when it returns."""
        order = sorted(tasks, key=lambda task: (-task.cost, task.index))
        self._waiting = [task for task in order if not task.is_alone]
        self._alone = [task for task in order if task.is_alone]
        try:
            while self._waiting or self._running or self._alone:
                self._pass_signals_on()
                self._start_what_fits()
                if self._running:
                    fds = [fd for each in self._running for fd in each.job.fds]
                    self.supervisor.wait(_TICK_S, fds)
                for each in tuple(self._running):
                    self._look_after(each)
        finally:
            for each in self._running:
                each.job.kill()
                self._clear(each)

    def _start_what_fits(self) -> None:
        """What must compile nothing comes last and one by one: a neighbour's kernels would be
        taken for its own."""
        if not self._waiting and not self._running and self._alone:
            self._waiting.append(self._alone.pop(0))
        for task in tuple(self._waiting):
            why = self._why_skipped or self.slots.find_hindrance(task.need)
            gpus = None if why else self.slots.take(task.need)
            if why or gpus is not None:
                self._waiting.remove(task)
            if why:
                self._skip(task, why)
            elif gpus is not None:
                self._start(task, gpus)

    def _skip(self, task: Task, why: str) -> None:
        if task.warmed is None:
            skipped = make_unlaunched(task.launch, task.check, "skipped", reason=why)
        else:
            why = f"warmed, and not proven: {why}"
            skipped = msgspec.structs.replace(task.warmed, state="skipped", reason=why)
        self.finish(skipped, None)

    def _start(self, task: Task, gpus: tuple[str, ...]) -> None:
        self._num_started += 1
        spec = JobSpec(
            launches=self.resolved.launches,
            default=self.resolved.default,
            cache_root=self.resolved.cache_root,
            gpu_target=self.resolved.gpu_target,
            target_driver=self.resolved.target_driver,
            index=task.index,
            run_id=f"{self.run_dir.name}-{self._num_started}",
            run_dir=str(self.run_dir),
            gpus=gpus,
            limits=self.limits,
            force=self.force and task.warmed is None,
            is_alone=task.is_alone,
            parent=os.getpid(),
        )
        errors = self.run_dir / f"job-{self._num_started}.stderr"
        before = select_gpus(read_gpus(), gpus)
        try:
            job = Job([sys.executable, "-m", "warmup.commands.job", ANSWERS], errors)
        except HostError as error:
            self.slots.give_back(task.need, gpus)
            failed = make_unlaunched(task.launch, task.check, "failed", reason=error.reason)
            self.finish(failed, error)
            return
        job.send(spec.encode(), is_last=True)
        each = _Running(
            task=task, job=job, run_id=spec.run_id, gpus=gpus, gpus_before=before, errors=errors
        )
        self._running.append(each)

    def _pass_signals_on(self) -> None:
        """Each signal once, to every child: a second one ends the grace, as it does in one run."""
        cancelled = self.supervisor.find_cancelled()
        if cancelled is None:
            return
        if not self._num_signals:
            self._why_skipped = cancelled.what
            self._kill_at = min(self._kill_at, time.monotonic() + CANCEL_LIMIT_S)
        number = max(self.supervisor.find_num_signals() or 0, 1)  # none where our parent died
        for _ in range(number - self._num_signals):
            self._send_all(cancelled.signum)
        self._num_signals = number

    def _send_all(self, signum: int) -> None:
        for each in self._running:
            each.job.send_signal(signum)

    def _look_after(self, each: _Running) -> None:
        ended = each.job.find_exit()  # first: what it said before it ended is then all there
        if ended is None and time.monotonic() >= self._kill_at:
            each.job.kill()
            ended = "did not end in time and was killed"
        for line in each.job.read_lines():
            self._hand_on(each, line)
        if ended is not None:
            self._running.remove(each)
            self._conclude(each, ended)

    def _hand_on(self, each: _Running, line: bytes) -> None:
        told = json.loads(line)
        kind, data = told["kind"], told["data"]
        if kind == "job_result":
            each.result = msgspec.convert(data, ModelResult)
        elif kind == "job_error":
            each.error = msgspec.convert(data, JobError).find_error()
        else:
            each.has_tail |= kind == "log_tail"
            self.events.emit(kind, told["model"], **data)

    def _conclude(self, each: _Running, ended: str) -> None:
        """The child is gone: its GPUs are free, unless something of it lives on."""
        task = each.task
        if each.result is None:
            result, survivors = self._fail(each, ended)
        else:
            result, survivors = each.result, "; ".join(each.result.survivors)
        if survivors:
            survivors = f"processes of {task.launch.name} could not be ended: {survivors}"
        self.slots.give_back(task.need, each.gpus, survivors)
        if not each.errors.stat().st_size:
            each.errors.unlink()
        if task.warmed is not None:
            result = merge_proof(task.warmed, result)
        elif result.is_warm and task.launch.prove and not (result.proven or task.is_alone):
            self._alone.append(replace(task, is_alone=True, warmed=result))
            return
        if self._why_skipped and result.state == "failed" and not self._num_signals:
            # --fail-fast ended it; it has not failed by itself.
            each.error, why = None, self._why_skipped
            result = msgspec.structs.replace(result, state="skipped", reason=why)
        self.finish(result, each.error)
        if each.error is not None and self.fail_fast and not self._why_skipped:
            self._why_skipped = f"{task.launch.name} failed and --fail-fast was given"
            self._kill_at = time.monotonic() + CANCEL_LIMIT_S
            self._send_all(signal.SIGTERM)

    def _fail(self, each: _Running, ended: str) -> tuple[ModelResult, str]:
        """A child that ended without a result: what it left is ended, its log's tail is shown."""
        launch = each.task.launch
        survivors = self._clear(each)
        log = self.run_dir / f"{self.log_names[launch.name]}.log"
        path = str(log) if log.exists() else None
        if path is not None and not each.has_tail:
            tail = read_tail(log, max_lines=self.limits.log_lines, redactor=self.redactor)
            lines = list(tail.lines)
            self.events.emit("log_tail", launch.name, path=path, lines=lines, cut=tail.is_cut)
        if each.error is None:
            what = "its supervising process is gone"
            each.error = WarmupError(what, cause=f"it {ended}", log=path)
        if each.errors.stat().st_size:
            each.error.hint = f"its last words are in {each.errors}"
        failed = make_unlaunched(launch, each.task.check, "failed", reason=each.error.reason)
        seconds = round(time.monotonic() - each.started, 3)
        return msgspec.structs.replace(failed, log=path, seconds=seconds), survivors

    def _clear(self, each: _Running) -> str:
        """End what a dead child left, then see its GPUs' memory come back; who is left."""
        name = each.task.launch.name
        runs = self.home.get_folder("runs")
        left = reap_run(
            runs, each.run_id, lambda text: self.events.emit("warning", name, text=text)
        )
        if left:
            return "; ".join(left)
        runs.remove(each.run_id)
        if not each.gpus_before or self.supervisor.find_cancelled() is not None:
            return ""
        try:
            wait_until_free(each.gpus_before, self.supervisor, timeout_s=_MEMORY_TIMEOUT_S)
        except WarmupError as error:
            return error.reason
        return ""
