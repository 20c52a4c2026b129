"""What is known of one run: its events, put together (`warmup.report.reader` makes it).

Seconds and moments may come from a file that somebody else wrote: they are bounded here, so that
no view has to care.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from warmup.report.document import get_gpu_hours
from warmup.report.event_data import LogExcerpt, Outcome, RepairData, Start

UNFINISHED = "unfinished"  # the state of a model that the run began, or meant to, and never ended
_MAX_SECONDS = 1e9


@dataclass(frozen=True)
class Span:
    """A phase, or a step of the ladder. begin: seconds since the epoch. state: `finished`, …
    new_entries: of a step, per family."""

    name: str
    begin: float
    seconds: float
    state: str = "finished"
    new_entries: dict[str, int] = field(default_factory=dict)

    @property
    def end(self) -> float:
        return self.begin + self.seconds


@dataclass(frozen=True)
class Compiled:
    """One kernel that was compiled. t: seconds since the epoch."""

    t: float
    family: str
    kernel: str


@dataclass
class ModelRecord:
    """One model of one run. begin: seconds since the epoch, None where it was not launched.
    compiled: a bounded number of kernels; num_compiled: of all, by family.
    is_lost: whether the run came to its end, and what became of this model cannot be read."""

    name: str
    begin: float | None = None
    end: float | None = None
    start: Start | None = None
    outcome: Outcome | None = None
    spans: list[Span] = field(default_factory=list)
    steps: list[Span] = field(default_factory=list)
    compiled: list[Compiled] = field(default_factory=list)
    num_compiled: Counter[str] = field(default_factory=Counter)
    tail: LogExcerpt | None = None
    warnings: list[str] = field(default_factory=list)
    is_target: bool = False
    is_lost: bool = False

    @property
    def state(self) -> str:
        return self.outcome.state if self.outcome else UNFINISHED

    @property
    def is_warm(self) -> bool:
        return self.state in ("warm", "warmed")

    @property
    def is_trouble(self) -> bool:
        """Whether somebody has to look: it failed, or was never finished."""
        return self.state in ("failed", UNFINISHED)

    @property
    def proven(self) -> bool:
        return self.outcome is not None and self.outcome.proven

    @property
    def tp(self) -> int:
        said = self.name.rpartition(":")[2]
        tp = self.outcome.tp if self.outcome else int(said) if said.isdecimal() else 1
        return min(max(tp, 1), 1024)

    @property
    def engine(self) -> str:
        known = self.outcome or self.start
        return known.engine if known else ""

    @property
    def argv(self) -> list[str]:
        return (self.outcome and self.outcome.argv) or (self.start and self.start.argv) or []

    @property
    def log(self) -> str | None:
        return (self.outcome and self.outcome.log) or (self.start and self.start.log) or None

    @property
    def reason(self) -> str:
        """Why it was cold, or what failed."""
        if self.outcome:
            return self.outcome.reason
        if self.is_lost:
            return "what became of it cannot be read"
        if self.start is None:
            return "the run ended before this model's turn"
        last = self.spans[-1].name if self.spans else "its start"
        return f"the run ended during {last}; it was cold: {self.start.reason or 'nobody said why'}"

    @property
    def was_cold_for(self) -> str:
        """Why it was launched, also where the outcome speaks of a failure."""
        return self.start.reason if self.start else ""

    @property
    def seconds(self) -> float:
        if self.outcome:
            return bound_seconds(self.outcome.seconds)
        return 0.0 if self.begin is None or self.end is None else max(self.end - self.begin, 0.0)

    @property
    def new_entries(self) -> dict[str, int]:
        return self.outcome.new_entries if self.outcome else {}

    @property
    def gpu_hours(self) -> float:
        return get_gpu_hours(self.tp, self.state, self.seconds)

    @property
    def trouble(self) -> str | None:
        """The first line of its log that speaks of an error."""
        tail = self.tail
        if tail is None or tail.trouble is None or not 0 <= tail.trouble < len(tail.lines):
            return None
        return tail.lines[tail.trouble]


@dataclass(frozen=True)
class RunBrief:
    """What a trend keeps of a run. models: state and seconds of each, by name."""

    run_id: str
    begin: float
    seconds: float
    exit_code: int | None
    models: dict[str, tuple[str, float]]
    gpu_hours: float
    gpu_hours_saved: float
    cost: float

    @property
    def verdict(self) -> str:
        """The worst that happened to a model of it; `warm` where all are warm now."""
        states = {state for state, _ in self.models.values()}
        for state in ("failed", UNFINISHED, "skipped", "seeded"):
            if state in states:
                return state
        return "warm" if self.exit_code is not None else UNFINISHED


@dataclass
class RunRecord:
    """One run. begin, end: of its first and its last event, seconds since the epoch.

    exit_code: None where it has none: it was killed, or is still running. num_unread: lines that
    are no event of ours; unknown: kinds of a later version, how often each. problem: why nothing
    more could be read.
    """

    run_id: str
    begin: float = 0.0
    end: float = 0.0
    exit_code: int | None = None
    version_key: str = ""
    price: float = 0.0
    target: str = ""
    models: dict[str, ModelRecord] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    repairs: list[RepairData] = field(default_factory=list)
    num_unread: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    problem: str | None = None

    @property
    def seconds(self) -> float:
        return max(self.end - self.begin, 0.0)

    @property
    def ending(self) -> str:
        return "never finished" if self.exit_code is None else f"exit status {self.exit_code}"

    @property
    def gpu_hours(self) -> float:
        """Held here; what a target run did, it did without GPUs."""
        return sum(each.gpu_hours for each in self.models.values() if not each.is_target)

    @property
    def gpu_hours_saved(self) -> float:
        return sum(each.gpu_hours for each in self.models.values() if each.is_target)

    @property
    def cost(self) -> float:
        return self.gpu_hours * self.price

    @property
    def brief(self) -> RunBrief:
        return RunBrief(
            run_id=self.run_id,
            begin=self.begin,
            seconds=self.seconds,
            exit_code=self.exit_code,
            models={name: (each.state, each.seconds) for name, each in self.models.items()},
            gpu_hours=self.gpu_hours,
            gpu_hours_saved=self.gpu_hours_saved,
            cost=self.cost,
        )


def bound_seconds(seconds: float) -> float:
    """A number of seconds that every view can draw."""
    return min(max(seconds, 0.0), _MAX_SECONDS)
