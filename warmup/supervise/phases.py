"""How long each phase of a boot takes, and which one failed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from warmup.report.api import Events


@dataclass
class Phases:
    """Seconds per phase, emitted as events as they pass.

    prefix: what stands before each phase's name, `PROOF_PREFIX` in the boot that proves.
    failed: the first phase that raised.
    """

    events: Events
    model: str
    prefix: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
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

    def mark_failed(self, name: str) -> None:
        self.failed = self.failed or self.prefix + name
