"""Compile jobs spread over processes: the longest first, each worker one job at a time.

A worker is a process group of its own, so that its compilers end with it. One that dies is
reported with its job, which a fresh worker tries once more. Whatever raises out of `run` ends
every group at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from warmup.words.errors import WarmupError

_WORKER = Path(__file__).with_name("worker.py")
_TICK_S = 0.2
_END_TIMEOUT_S = 10.0
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
    process: subprocess.Popen[bytes]
    questions: IO[bytes]
    answers: IO[bytes]
    is_ready: bool = False
    job: CompileJob | None = None
    deadline: float = 0.0
    text: bytes = b""


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
        self._selector = selectors.DefaultSelector()
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
        self._selector.close()
        self._selector = selectors.DefaultSelector()

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
                with contextlib.suppress(BrokenPipeError):  # it died: its answers will say so
                    worker.questions.write(json.dumps(job.payload).encode() + b"\n")
                    worker.questions.flush()

    def _start(self, spec: WorkerSpec) -> None:
        read, write = os.pipe()
        answers = os.fdopen(read, "rb", buffering=0)
        own = (str(_WORKER), str(spec.handler), str(write), str(os.getpid()))
        try:
            with self._log.open("ab") as log:
                process = subprocess.Popen(
                    [spec.python, *own, *spec.args],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=self._env,
                    cwd=self._cwd,
                    pass_fds=(write,),
                    start_new_session=True,
                )
        except OSError as error:
            answers.close()
            raise WarmupError(
                f"cannot start {spec.python}", cause=error.strerror, hint="give --python"
            ) from error
        finally:
            os.close(write)
        assert process.stdin is not None
        deadline = time.monotonic() + self._start_timeout_s
        worker = _Worker(spec, process, process.stdin, answers, deadline=deadline)
        self._workers.append(worker)
        self._selector.register(answers, selectors.EVENT_READ, worker)

    def _advance(self) -> list[JobOutcome]:
        """What ended within a tick."""
        self._check()
        ended: list[JobOutcome] = []
        for key, _ in self._selector.select(_TICK_S):
            ended += self._read(key.data)
        now = time.monotonic()
        for worker in list(self._workers):
            if now > worker.deadline and (worker.job is not None or not worker.is_ready):
                ended += self._lose(worker, "took too long")
        return ended

    def _read(self, worker: _Worker) -> list[JobOutcome]:
        data = os.read(worker.answers.fileno(), 1 << 16)
        if not data:
            return self._lose(worker, "died")
        worker.text += data
        ended = []
        while b"\n" in worker.text:
            line, _, worker.text = worker.text.partition(b"\n")
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
        job = worker.job
        status = self._end(worker)
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
        self._selector.unregister(worker.answers)
        worker.answers.close()
        # The group lives as long as any member does, so its number cannot be another's yet: the
        # leader is not reaped before.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.process.pid, signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            worker.questions.close()
        try:
            return worker.process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL  # stuck in the kernel: it ends when that lets it go
