"""How long each phase of a boot takes, and which one failed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from warmup.report.api import Events, StepResult


@dataclass
class Phases:
    """Seconds per phase, emitted as events as they pass.

    prefix: what stands before each phase's name, `PROOF_PREFIX` in the boot that proves.
    failed: the first phase that raised. steps: of the ladder, of both boots.
    """

    events: Events
    model: str
    prefix: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    steps: list[StepResult] = field(default_factory=list)
    current: str = ""
    begin: float = 0.0
    failed: str | None = None

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        phase = self.prefix + name
        self.current, self.begin = phase, time.monotonic()
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

    def add_step(self, step: StepResult) -> None:
        self.steps.append(step)
        self.events.emit("step", self.model, **msgspec.structs.asdict(step))

    @property
    def skipped_steps(self) -> tuple[str, ...]:
        """Steps that no time was left for."""
        return tuple(each.step for each in self.steps if each.state == "left_out")

    def mark_failed(self, name: str) -> None:
        self.failed = self.failed or self.prefix + name
