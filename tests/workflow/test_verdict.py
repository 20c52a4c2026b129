import msgspec
import pytest

from tests.state.helpers import make_marker_of, make_vector
from warmup.launch.launch import Launch, RequestSpec
from warmup.state.check import NOT_PROVEN, ONLY_KERNELS, MarkerCheck
from warmup.workflow.verdict import get_reason, is_done, make_unlaunched

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


@pytest.mark.parametrize(
    ("climbed", "asked", "done"),
    [
        ("off", "off", True), ("off", "short", False), ("off", "full", False),
        ("short", "off", True), ("short", "short", True), ("short", "full", False),
        ("full", "short", True), ("full", "full", True), ("own:0123", "short", False),
    ],
)  # fmt: skip
def test_a_marker_counts_for_the_ladder_it_climbed_and_for_less(
    climbed: str, asked: str, done: bool
) -> None:
    """Markers of before the ladder say nothing of one, which reads as `off`."""
    marker = msgspec.structs.replace(make_marker_of(LAUNCH, make_vector()), ladder=climbed)
    found = MarkerCheck(state="fresh", reason="marker of 2026-11-21", marker=marker)
    launch = msgspec.structs.replace(LAUNCH, ladder=asked)
    assert is_done(found, launch, force=False) is done
    if not done:
        reason = get_reason(found, launch, force=False)
        assert reason == f"warmed with ladder {climbed}, asked for {asked}"
    kernels = msgspec.structs.replace(launch, strategy="kernels")
    assert is_done(found, kernels, force=False), "who asks for kernels alone asks for no request"


def test_the_ladder_is_no_part_of_the_key() -> None:
    request = RequestSpec(path="/generate")
    full = msgspec.structs.replace(LAUNCH, ladder="full", requests=(request, request))
    assert full.key == LAUNCH.key
    assert (LAUNCH.climbs, full.climbs[:4]) == ("short", "own:")
    one = msgspec.structs.replace(LAUNCH, request=request)
    assert one.climbs == "off", "a launch with one request of its own leaves no more to the engine"


def test_the_first_of_own_requests_counts_too() -> None:
    one, other = (RequestSpec(path=path) for path in ("/a", "/b"))
    launch = msgspec.structs.replace(LAUNCH, engine="command", requests=(one,))
    names = {
        each.climbs
        for each in (
            launch,
            msgspec.structs.replace(launch, requests=(other,)),
            msgspec.structs.replace(launch, request=other),
            msgspec.structs.replace(launch, request=one),
        )
    }
    assert len(names) == 4
    assert all(name.startswith("own:") for name in names)
