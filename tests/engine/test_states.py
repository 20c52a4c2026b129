from __future__ import annotations

import asyncio

import pytest

from warmup.engine.states import State, StateMachine


def make_machine(*states: State) -> StateMachine:
    machine = StateMachine()
    for state in states:
        machine.advance(state)
    return machine


async def run_the_whole_way() -> None:
    machine = make_machine(State.LIVE, State.WARMING)
    assert not await machine.wait_settled(0.01)
    machine.advance(State.READY)
    assert await machine.wait_settled(0.01)
    machine.fail("rank 1 ended")
    assert (machine.state, machine.error) == (State.UNHEALTHY, "rank 1 ended")
    machine.fail("rank 0 ended too")
    assert machine.error == "rank 1 ended"


def test_the_whole_way() -> None:
    asyncio.run(run_the_whole_way())


@pytest.mark.parametrize("states", [(), (State.LIVE,), (State.LIVE, State.WARMING)])
def test_failure_before_ready_is_final(states: tuple[State, ...]) -> None:
    machine = make_machine(*states)
    machine.fail("no")
    assert machine.state is State.FAILED
    with pytest.raises(ValueError, match="failed to live"):
        machine.advance(State.LIVE)


def test_no_state_is_skipped() -> None:
    with pytest.raises(ValueError, match="starting to ready"):
        StateMachine().advance(State.READY)
