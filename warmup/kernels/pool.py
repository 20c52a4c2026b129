"""Compile jobs spread over processes: the longest first, each worker one job at a time.

A worker's compilers end with it (`supervise/job.py`). One that dies is reported with its job, which
a fresh worker tries once more. Whatever raises out of `run` ends every one at once.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from warmup.supervise.api import ANSWERS, Job
from warmup.words.errors import HostError, WarmupError

_WORKER = Path(__file__).with_name("worker.py")
_TICK_S = 0.2
_MAX_TRIES = 2


@dataclass(frozen=True)
class CompileJob:
    """name: for a human. payload: what the handler is given. cost: only its order counts."""

    name: str
    payload: dict[str, Any] = field(default_factory=dict)
    cost: float = 1.0


@dataclass(frozen=True)
class JobOutcome:
    """answer: the handler's, None where it failed. seconds: in the worker, of the last try."""

    job: CompileJob
    answer: Any
    error: str | None
    seconds: float
    num_tries: int


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """How one worker is started. handler: path of its module; args: for that module's `start`."""

    python: str
    handler: Path
    args: tuple[str, ...] = ()


@dataclass
class _Worker:
    spec: WorkerSpec
    process: Job
    deadline: float
    is_ready: bool = False
    job: CompileJob | None = None


def get_num_workers(num_jobs: int, requested: int | None, bytes_each: int) -> int:
    """As many as jobs, cores and memory allow; at least one. requested: overrides cores alone."""
    import psutil

    cores = requested or len(os.sched_getaffinity(0))
    return max(1, min(num_jobs, cores, psutil.virtual_memory().available // bytes_each))


class CompilePool:
    """Workers for as many jobs as `run` is given; a context, for what must end with it.

    log: file that all workers' output is appended to. check: called several times a second, and
    may raise to end it all (a cancel). start_timeout_s: for a worker to import what it needs.
    """

    def __init__(
        self,
        specs: Sequence[WorkerSpec],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        check: Callable[[], None] = lambda: None,
        start_timeout_s: float = 300.0,
        job_timeout_s: float = 1200.0,
    ) -> None:
        self._specs = list(specs)
        self._env = dict(env)
        self._cwd = cwd
        self._log = log
        self._check = check
        self._start_timeout_s = start_timeout_s
        self._job_timeout_s = job_timeout_s
        self._workers: list[_Worker] = []
        self._waiting: deque[CompileJob] = deque()
        self._tries: dict[int, int] = {}
        self._why_broken: str | None = None

    def __enter__(self) -> CompilePool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        jobs: Iterable[CompileJob],
        on_outcome: Callable[[JobOutcome, int, int], None] = lambda *_: None,
    ) -> list[JobOutcome]:
        """Every job's outcome, in the order they ended. on_outcome(outcome, done, total).

        Raises WarmupError where no worker can start, and what `check` raises.
        """
        todo = sorted(jobs, key=lambda job: -job.cost)
        self._waiting = deque(todo)
        self._tries = {id(job): 0 for job in todo}
        outcomes: list[JobOutcome] = []
        try:
            while len(outcomes) < len(todo):
                self._fill()
                for outcome in self._advance():
                    outcomes.append(outcome)
                    on_outcome(outcome, len(outcomes), len(todo))
        except BaseException:
            self.close()
            raise
        return outcomes

    def add(self, specs: Iterable[WorkerSpec]) -> None:
        """More workers, for the next `run`."""
        self._specs += specs

    def close(self) -> None:
        """End every worker with its whole group, and wait until it is gone."""
        for worker in list(self._workers):
            self._end(worker)

    def _fill(self) -> None:
        """A job for each idle worker, and a worker for each spec that lacks one, as needed."""
        num_missing = len(self._waiting) - sum(worker.job is None for worker in self._workers)
        taken = [worker.spec for worker in self._workers]
        for spec in self._specs:
            if spec in taken:
                taken.remove(spec)
            elif num_missing > 0:
                self._start(spec)
                num_missing -= 1
        if not self._workers and self._waiting:
            raise WarmupError(
                "no compile worker could start",
                cause=self._why_broken,
                log=str(self._log),
                hint="is the interpreter right (--python), and all that it needs installed?",
            )
        for worker in self._workers:
            if worker.is_ready and worker.job is None and self._waiting:
                worker.job = job = self._waiting.popleft()
                worker.deadline = time.monotonic() + self._job_timeout_s
                self._tries[id(job)] += 1
                worker.process.send(json.dumps(job.payload).encode() + b"\n")

    def _start(self, spec: WorkerSpec) -> None:
        argv = [spec.python, str(_WORKER), str(spec.handler), ANSWERS, str(os.getpid()), *spec.args]
        try:
            process = Job(argv, self._log, env=self._env, cwd=self._cwd)
        except HostError as error:
            raise WarmupError(error.what, cause=error.cause, hint="give --python") from error
        deadline = time.monotonic() + self._start_timeout_s
        self._workers.append(_Worker(spec, process, deadline))

    def _advance(self) -> list[JobOutcome]:
        """What ended within a tick."""
        self._check()
        wait([fd for worker in self._workers for fd in worker.process.fds], _TICK_S)
        ended: list[JobOutcome] = []
        for worker in list(self._workers):
            ended += self._read(worker)
            is_at_work = worker.job is not None or not worker.is_ready
            if not worker.process.fds:
                ended += self._lose(worker, "died")
            elif is_at_work and time.monotonic() > worker.deadline:
                ended += self._lose(worker, "took too long")
        return ended

    def _read(self, worker: _Worker) -> list[JobOutcome]:
        ended = []
        for line in worker.process.read_lines():
            told = json.loads(line)
            if not worker.is_ready:
                worker.is_ready = "ready" in told
                self._why_broken = told.get("error")
                continue
            job, worker.job = worker.job, None
            assert job is not None
            answer, error, tries = told.get("answer"), told.get("error"), self._tries[id(job)]
            ended.append(JobOutcome(job, answer, error, told["seconds"], tries))
        return ended

    def _lose(self, worker: _Worker, how: str) -> list[JobOutcome]:
        """End this worker. Its job is tried once more; one that never was ready is not replaced."""
        job, status = worker.job, self._end(worker)
        if not worker.is_ready:
            self._specs.remove(worker.spec)
            self._why_broken = self._why_broken or f"it {how} (exit status {status})"
        if job is None:
            return []
        tries = self._tries[id(job)]
        if tries < _MAX_TRIES:
            self._waiting.appendleft(job)
            return []
        error = f"its worker {how} {tries} times (exit status {status})"
        return [JobOutcome(job, None, error, 0.0, tries)]

    def _end(self, worker: _Worker) -> int:
        self._workers.remove(worker)
        return worker.process.kill()
