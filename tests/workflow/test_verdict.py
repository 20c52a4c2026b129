import msgspec
import pytest

from tests.state.helpers import make_marker_of, make_vector
from warmup.launch.launch import Launch
from warmup.state.check import MarkerCheck
from warmup.workflow.verdict import NOT_PROVEN, ONLY_KERNELS, get_reason, is_done, make_unlaunched

LAUNCH = Launch(model="org/a", tp=8, engine="sglang", python="python3")


def check(*, proven: bool = False, warmed_by: str = "server") -> MarkerCheck:
    marker = make_marker_of(LAUNCH, make_vector(), proven=proven, warmed_by=warmed_by)
    return MarkerCheck(state="fresh", reason="marker of 2026-11-21", marker=marker)


COLD = MarkerCheck(state="missing", reason="never warmed")


def test_fresh_is_done_unless_forced() -> None:
    assert is_done(check(), LAUNCH, force=False)
    assert not is_done(check(), LAUNCH, force=True)
    assert not is_done(COLD, LAUNCH, force=False)
    assert get_reason(check(), LAUNCH, force=True) == "asked for with --force"
    assert get_reason(COLD, LAUNCH, force=False) == "never warmed"


def test_a_proof_that_is_asked_for_must_be_there() -> None:
    launch = msgspec.structs.replace(LAUNCH, prove=True)
    assert not is_done(check(), launch, force=False)
    assert get_reason(check(), launch, force=False) == NOT_PROVEN
    assert is_done(check(proven=True), launch, force=False)


@pytest.mark.parametrize(
    ("strategy", "done"), [("auto", False), ("server", False), ("kernels", True)]
)
def test_kernels_alone_are_enough_for_who_asks_for_them_alone(strategy: str, done: bool) -> None:
    launch = msgspec.structs.replace(LAUNCH, strategy=strategy)
    found = check(warmed_by="kernels")
    assert is_done(found, launch, force=False) is done
    if not done:
        assert get_reason(found, launch, force=False) == ONLY_KERNELS
    assert is_done(check(), launch, force=False), "a server's warm-up is enough for all"


def test_what_is_not_launched_is_reported_as_it_is() -> None:
    result = make_unlaunched(LAUNCH, COLD, "skipped", reason="cancelled")
    assert (result.state, result.reason, result.marker) == ("skipped", "cancelled", None)
