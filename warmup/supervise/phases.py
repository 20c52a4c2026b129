"""How long each phase of a boot takes, and which one failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from warmup.report.api import Events, StepResult

HEARTBEAT_S = 30.0


@dataclass
class Phases:
    """Seconds per phase, emitted as events as they pass.

    prefix: what stands before each phase's name, `PROOF_PREFIX` in the boot that proves.
    failed: the first phase that raised. steps: of the ladder, of both boots. current, begin: of the
    phase that runs; before the first, the wait for the launch's lock.
    """

    events: Events
    model: str
    prefix: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    steps: list[StepResult] = field(default_factory=list)
    current: str = "lock"
    begin: float = field(default_factory=time.monotonic)
    failed: str | None = None
    next_beat: float = field(default_factory=lambda: time.monotonic() + HEARTBEAT_S)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        phase = self.prefix + name
        self.current, self.begin = phase, time.monotonic()
        self.next_beat = self.begin + HEARTBEAT_S
        self.events.emit("phase", self.model, phase=phase, state="started")
        state = "failed"
        try:
            yield
            state = "finished"
        finally:
            if state == "failed":
                self.mark_failed(name)
            took = time.monotonic() - self.begin
            self.seconds[phase] = round(self.seconds.get(phase, 0.0) + took, 3)
            self.events.emit("phase", self.model, phase=phase, state=state, seconds=took)

    def beat(self, get_last_line: Callable[[], str] = str) -> None:
        """Called again and again while a phase lasts: tells of it every `HEARTBEAT_S`."""
        now = time.monotonic()
        if now < self.next_beat:
            return
        self.next_beat = now + HEARTBEAT_S
        told = {"last_line": line} if (line := get_last_line()) else {}
        seconds = now - self.begin
        self.events.emit("heartbeat", self.model, phase=self.current, seconds=seconds, **told)

    def add_step(self, step: StepResult) -> None:
        self.steps.append(step)
        self.events.emit("step", self.model, **msgspec.structs.asdict(step))

    @property
    def skipped_steps(self) -> tuple[str, ...]:
        """Steps that no time was left for."""
        return tuple(each.step for each in self.steps if each.state == "left_out")

    def mark_failed(self, name: str) -> None:
        self.failed = self.failed or self.prefix + name
