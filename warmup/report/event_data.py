"""What a line of `events.jsonl` holds, of each kind, as any version of this program may have
written it: fields may be missing, and words that are not known here are words.
"""

from __future__ import annotations

import msgspec


class EventLine(msgspec.Struct, frozen=True):
    t: float
    kind: str
    model: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


class RunStart(msgspec.Struct, frozen=True):
    run_id: str = ""
    models: list[str] = []
    version_key: str = ""
    price_per_gpu_hour: float = 0.0
    target: str | None = None


class RunEnd(msgspec.Struct, frozen=True):
    exit_code: int | None = None


class PhaseData(msgspec.Struct, frozen=True):
    phase: str
    state: str = "finished"
    seconds: float | None = None


class StepData(msgspec.Struct, frozen=True):
    step: str
    state: str = "answered"
    seconds: float = 0.0
    new_entries: dict[str, int] = {}


class CompiledData(msgspec.Struct, frozen=True):
    family: str = ""
    kernels: list[tuple[float | None, str]] = []
    more: int = 0


class WarningData(msgspec.Struct, frozen=True):
    text: str = ""


class RepairData(msgspec.Struct, frozen=True):
    rule: str = ""
    path: str = ""
    state: str = "done"
    detail: str = ""

    def __str__(self) -> str:
        verb = "repaired" if self.state == "done" else "not repaired"
        return f"{verb} {self.path}: {self.detail} ({self.rule})"


class Outcome(msgspec.Struct, frozen=True):
    """`ModelResult` as any version may have written it: `state` is any word."""

    tp: int = 1
    engine: str = ""
    state: str = ""
    reason: str = ""
    seconds: float = 0.0
    failed_phase: str | None = None
    new_entries: dict[str, int] = {}
    proven: bool = False
    log: str | None = None
    argv: list[str] = []
    survivors: list[str] = []
    target: str = ""
    left_out: list[str] = []
    seed_missed: list[str] = []


class Start(msgspec.Struct, frozen=True):
    """`model_started`."""

    engine: str = ""
    reason: str = ""
    argv: list[str] = []
    log: str | None = None


class LogExcerpt(msgspec.Struct, frozen=True):
    """`log_tail`. trouble: number of the first line that speaks of an error."""

    path: str = ""
    lines: list[str] = []
    cut: bool = False
    trouble: int | None = None
