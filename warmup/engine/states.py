"""The states of a server (design.md, section 8), and what /metrics shows.

STARTING → LIVE (HTTP up) → WARMING → READY → UNHEALTHY;  STARTING|LIVE|WARMING → FAILED
"""

from __future__ import annotations

import asyncio
import enum
from collections import Counter, defaultdict


class State(str, enum.Enum):
    STARTING = "starting"
    LIVE = "live"
    WARMING = "warming"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    FAILED = "failed"


_NEXT = {
    State.STARTING: {State.LIVE, State.FAILED},
    State.LIVE: {State.WARMING, State.FAILED},
    State.WARMING: {State.READY, State.FAILED},
    State.READY: {State.UNHEALTHY},
    State.UNHEALTHY: set[State](),
    State.FAILED: set[State](),
}


class StateMachine:
    """The one owner of the state. Belongs to one event loop.

    `error` says why it is UNHEALTHY or FAILED.
    """

    def __init__(self) -> None:
        self.state = State.STARTING
        self.error: str | None = None
        self._settled = asyncio.Event()

    def advance(self, state: State, error: str | None = None) -> None:
        """Move on; an edge that the picture above lacks is our bug (ValueError)."""
        if state not in _NEXT[self.state]:
            raise ValueError(f"no way from {self.state.value} to {state.value}")
        self.state = state
        self.error = error
        if state in (State.READY, State.UNHEALTHY, State.FAILED):
            self._settled.set()

    def fail(self, error: str) -> None:
        """A rank died, or warm-up was aborted: FAILED before READY, UNHEALTHY after; once."""
        if self.state is State.READY:
            self.advance(State.UNHEALTHY, error)
        elif self.state not in (State.UNHEALTHY, State.FAILED):
            self.advance(State.FAILED, error)

    async def wait_settled(self, timeout_s: float) -> bool:
        """True once READY, UNHEALTHY or FAILED; False after `timeout_s`."""
        try:
            await asyncio.wait_for(self._settled.wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        return True


class Metrics:
    """What /metrics shows of the user's requests. Warm-ups are not theirs."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.held = 0
        self.rejected = 0

    def render(self, state: State, stats: dict[str, float], num_waiting: int) -> str:
        """Prometheus text format 0.0.4. stats: the runner's own. num_waiting: sent to the ranks."""
        lines = ["# TYPE warmup_state gauge"]
        lines += [f'warmup_state{{state="{each.value}"}} {int(each is state)}' for each in State]
        lines.append("# TYPE requests_total counter")
        for (path, status), count in sorted(self.requests.items()):
            lines.append(f'requests_total{{path="{path}",status="{status}"}} {count}')
        lines.append("# TYPE request_seconds_total counter")
        for path, seconds in sorted(self.seconds.items()):
            lines.append(f'request_seconds_total{{path="{path}"}} {seconds:.6f}')
        lines += ["# TYPE requests_held gauge", f"requests_held {self.held}"]
        lines += ["# TYPE requests_waiting gauge", f"requests_waiting {num_waiting}"]
        lines += ["# TYPE requests_rejected_total counter"]
        lines += [f"requests_rejected_total {self.rejected}"]
        for name, value in sorted(stats.items()):
            lines += [f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}"]
            lines += [f"{name} {value:g}"]
        return "\n".join(lines) + "\n"
