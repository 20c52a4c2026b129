"""What the HTTP process and the ranks say to each other. Plain picklable data, no torch.

A `Request` goes HTTP → rank 0 → (broadcast) → every rank; a `RankReply` goes rank 0 → HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

FailureKind = Literal["validation", "oom", "internal", "unavailable", "timeout"]


@dataclass(frozen=True)
class Request:
    """kind: `ping`, `abort`, `stop` are the worker's; every other word is the runner's.

    id: of this request (`abort`: of the request to abort). warmup: synthesised by us; neither
    counted in user metrics nor batched with others.
    """

    id: str
    kind: str
    payload: Any = None
    warmup: bool = False


@dataclass(frozen=True)
class Failure:
    """kind decides the HTTP status: validation 400, unavailable and timeout 503, others 500."""

    kind: FailureKind
    message: str
    field: str | None = None


@dataclass(frozen=True)
class RankReply:
    """One piece of an answer; `final` ends it. `failure` is set on final replies only."""

    id: str
    data: Any = None
    final: bool = True
    failure: Failure | None = None


@dataclass(frozen=True)
class Ready:
    """Rank 0's first words: every rank has loaded the model. info joins /model_info."""

    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Broken:
    """Rank 0's last words when the model could not be loaded, on any rank."""

    message: str


@dataclass(frozen=True)
class Stats:
    """Counters of the runner for /metrics: name → value, the newest wins."""

    values: dict[str, float]


class RequestError(Exception):
    """A failure that belongs to one request; the server goes on."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def invalid(message: str, field_name: str | None = None) -> RequestError:
    """A parameter the user got wrong: HTTP 400, naming the field."""
    return RequestError(Failure("validation", message, field_name))
