"""Climb a ready server's ladder: the first request, then the steps after it, one by one.

Of each step is told how long it took and what it compiled, so that a user sees which one earned its
time. A step that fails fails the model; one that no time is left for is told as left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec

from warmup.caches.api import find_new_after, make_mark
from warmup.launch.api import Engine, LadderStep, Launch, RequestSpec
from warmup.report.api import StepResult, StepState
from warmup.supervise.log.watch import LogWatch
from warmup.supervise.phases import Phases
from warmup.supervise.protocols import Waiter, Watched
from warmup.supervise.watch.request import Answer, NoAnswerInTime, send_requests
from warmup.words.errors import Cancelled, WarmupError
from warmup.words.secrets import Redactor

FIRST = "first"


@dataclass
class NewEntries:
    """Counts what is compiled while requests are answered.

    A look costs milliseconds, or a second in a cache of 100 000 entries: a step that took less
    than the last look is counted with the next one that took longer, and the last step always.
    """

    families: Sequence[str]
    env: Mapping[str, str]

    def __post_init__(self) -> None:
        self._mark = make_mark(self.families, self.env)
        self._cost_s = 0.0

    def count(self, took_s: float, *, is_last: bool = False) -> dict[str, int]:
        """Family → entries since the last look; {} where this step is not looked at by itself."""
        if took_s < self._cost_s and not is_last:
            return {}
        began = time.monotonic()
        found = find_new_after(self._mark)
        self._mark = make_mark(self.families, self.env)
        self._cost_s = time.monotonic() - began
        return {name: len(entries) for name, entries in found.items()}


@dataclass(kw_only=True)
class Climb:
    """One climb. limit: seconds that all requests together may take."""

    launch: Launch
    engine: Engine
    env: Mapping[str, str]
    server: Watched
    waiter: Waiter
    port: int
    log_watch: LogWatch
    redactor: Redactor
    on_poll: Callable[[], None]
    phases: Phases
    limit_s: float
    _slowest_s: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Raises WarmupError for a request that is not answered, or answered wrongly."""
        new = NewEntries(self.engine.families, self.env)
        with self.phases.timed("request"):
            request = self.engine.get_request(self.launch, self.env)
            has_more = self.launch.climbs != "off" and len(self.launch.own_requests) != 1
            self._take(LadderStep(FIRST, (request,)), new, is_last=not has_more)
        if has_more:
            with self.phases.timed("ladder"):
                self._climb(new)

    def _climb(self, new: NewEntries) -> None:
        steps = self.engine.get_ladder(self.launch, self.env, self._find_info())
        is_last_answered = False
        for step in steps:
            is_last_answered = False
            # Begun with less time than another took, it would be cut for want of time alone.
            if self._left_s <= self._slowest_s:
                self._tell(step.name, "left_out")
            else:
                is_last_answered = self._take(step, new, is_last=step is steps[-1])
        if not is_last_answered:
            self._send((), 0.0, is_last=True)

    def _take(self, step: LadderStep, new: NewEntries, *, is_last: bool) -> bool:
        """False where the time ended it that others had taken most of. Raises WarmupError."""
        began, had_s = time.monotonic(), self._left_s
        state: StepState = "failed"
        try:
            self._ask(step.requests, is_first=step.name == FIRST, is_last=is_last)
            state = "answered"
        except WarmupError as error:
            if step.name == FIRST or isinstance(error, Cancelled):
                raise
            is_late = isinstance(error, NoAnswerInTime)
            if not is_late or had_s >= self.launch.request_timeout_s / 2:
                error.what = f"ladder step {step.name!r}: {error.what}"
                error.hint = error.hint or 'ladder = "off", or `requests` of your own, leave it out'
                raise
            state = "left_out"
        finally:
            took_s = time.monotonic() - began
            if step.name != FIRST:
                self._slowest_s = max(self._slowest_s, took_s)
            found = new.count(took_s, is_last=is_last or state != "answered")
            self._tell(step.name, state, took_s, found)
        return state == "answered"

    def _ask(self, requests: Sequence[RequestSpec], *, is_first: bool, is_last: bool) -> None:
        answers = self._send(requests, self._left_s, is_last=is_last)
        for request, answer in zip(requests, answers, strict=True):
            judge = partial(self.engine.find_fault, self.launch, request, is_first=is_first)
            fault = judge(answer.status, answer.body)
            if fault is not None:
                error = WarmupError("the warm-up request was answered wrongly", cause=fault)
                error.is_evidence = True
                raise error

    def _find_info(self) -> Mapping[str, Any]:
        """What the server tells of its limits; {} where it does not: its ladder has defaults."""
        path = self.engine.get_info_path(self.launch)
        if path is None:
            return {}
        (answer,) = self._send((RequestSpec(method="GET", path=path),), self._left_s, is_last=False)
        with suppress(msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            value = msgspec.json.decode(answer.body)
            if answer.status == 200 and isinstance(value, dict):
                return value
        return {}

    def _send(
        self, requests: Sequence[RequestSpec], timeout_s: float, *, is_last: bool
    ) -> list[Answer]:
        return send_requests(
            self.server,
            self.waiter,
            port=self.port,
            requests=requests,
            timeout_s=timeout_s,
            log_watch=self.log_watch,
            redactor=self.redactor,
            on_poll=self.on_poll,
            is_last=is_last,
        )

    @property
    def _left_s(self) -> float:
        return max(0.0, self._began + self.limit_s - time.monotonic())

    def _tell(
        self,
        name: str,
        state: StepState,
        took_s: float = 0.0,
        new_entries: dict[str, int] | None = None,
    ) -> None:
        self.phases.add_step(
            StepResult(
                step=self.phases.prefix + name,
                state=state,
                seconds=round(took_s, 3),
                new_entries=new_entries or {},
            )
        )
