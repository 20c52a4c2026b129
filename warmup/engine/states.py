"""The states of a server (design.md, section 8).

STARTING → LIVE (HTTP up) → WARMING → READY → UNHEALTHY;  STARTING|LIVE|WARMING → FAILED
"""

from __future__ import annotations

import asyncio
import enum


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
