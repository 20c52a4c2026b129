"""The split of a workflow over machines: every model once, the same everywhere, balanced."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmup.launch.launch import Launch
from warmup.words.errors import UsageError
from warmup.workflow.shards import (
    MAX_JOBS,
    ShardSpec,
    Share,
    find_recorded,
    make_matrix,
    parse_runner,
    parse_shard,
    split,
    take_share,
)


def make_launches(*sizes: int) -> tuple[Launch, ...]:
    return tuple(
        Launch(model=f"org/m{i}", tp=tp, engine="command", python="python3", command=("serve",))
        for i, tp in enumerate(sizes)
    )


def get_names(shares: Sequence[Share]) -> list[list[str]]:
    return [[launch.model[4:] for launch in share.launches] for share in shares]


@dataclass(frozen=True)
class Record:
    launch_key: str
    seconds: float


@settings(deadline=None)  # of one example, on a busy machine
@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 4, 8]), st.integers(1, 900)), max_size=30),
    st.integers(1, 12),
)
def test_every_model_is_in_one_share_longest_first(
    models: list[tuple[int, int]], total: int
) -> None:
    launches = make_launches(*(tp for tp, _ in models))
    seconds = tuple(cost for _, cost in models)
    shares = split(launches, total, seconds)
    assert [share.index for share in shares] == list(range(1, total + 1))
    taken = [name for names in get_names(shares) for name in names]
    assert sorted(taken) == sorted(launch.model[4:] for launch in launches)
    costs = dict(zip((launch.model for launch in launches), seconds, strict=True))
    for share in shares:
        own = [costs[launch.model] for launch in share.launches]
        assert own == sorted(own, reverse=True)
        assert share.seconds == sum(own)
        assert share.num_gpus == max((launch.tp for launch in share.launches), default=0)
    if total >= len({launch.tp for launch in launches}):
        assert all(len({each.tp for each in share.launches}) <= 1 for share in shares)
    if total >= len(launches):
        assert max((len(share.launches) for share in shares), default=0) <= 1
    # What `run --shard` takes of `plan --matrix`'s word is the same.
    for share in shares:
        assert take_share(launches, str(ShardSpec(share.index, total, seconds))) == share.launches


def test_the_load_is_balanced_and_further_shares_go_where_it_is_longest() -> None:
    launches = make_launches(8, 8, 8, 8, 1, 1)
    shares = split(launches, 3, (500, 300, 300, 100, 10, 10))
    assert get_names(shares) == [["m0", "m3"], ["m1", "m2"], ["m4", "m5"]]
    assert [share.seconds for share in shares] == [600, 600, 20]


def test_without_records_the_size_decides() -> None:
    assert [share.seconds for share in split(make_launches(8, 1), 2)] == [160, 20]


def test_too_few_shares_send_small_models_to_larger_machines() -> None:
    (only,) = split(make_launches(1, 8, 4), 1)
    assert (only.num_gpus, len(only.launches)) == (8, 3)
    assert get_names(split(make_launches(1, 8, 4), 2)) == [["m1"], ["m2", "m0"]]


@pytest.mark.parametrize("text", ["0/0", "5/4", "0/3", "1/10001", "3", "1/", "-1/2", "x/2", "1/2@"])
def test_an_impossible_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="shard"):
        parse_shard(text)


def test_a_shard_of_another_workflow_is_refused() -> None:
    with pytest.raises(UsageError, match="made for another workflow"):
        take_share(make_launches(1, 1), "1/2@5,6,7")


def test_recorded_seconds_are_those_of_the_longest_warm_up() -> None:
    known, unknown = make_launches(1, 2)
    records = [Record(known.key, 3.0), Record(known.key, 412.3), Record("other", 9000.0)]
    assert find_recorded([known, unknown], records) == [413, None]
    matrix = make_matrix([known, unknown], [413, None])
    assert [job.shard for job in matrix.include] == ["1/2@413,40", "2/2@413,40"]
    assert [job.models for job in matrix.include] == ["org/m1:2", "org/m0:1"]


def test_a_job_gets_the_smallest_runner_that_fits() -> None:
    runners = [parse_runner(text) for text in ("h200x8=self-hosted, 8-gpu-h200", "4=four,x8=y")]
    matrix = make_matrix(make_launches(8, 2), [None, None], runners=runners)
    assert [job.runs_on for job in matrix.include] == [
        ("self-hosted", "8-gpu-h200"),
        ("four", "x8=y"),
    ]
    with pytest.raises(UsageError, match="no class of runners fits org/m0:8"):
        make_matrix(make_launches(8), [None], runners=runners[1:])


@pytest.mark.parametrize("text", ["h200=a", "8=", "8", "=a", "0=a", "8= , "])
def test_a_class_without_a_number_or_labels_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not a class of runners"):
        parse_runner(text)


def test_a_matrix_beyond_githubs_limit_is_refused() -> None:
    launches = make_launches(*[1] * (MAX_JOBS + 1))
    unknown = [None] * len(launches)
    with pytest.raises(UsageError, match="a matrix of 257 jobs"):
        make_matrix(launches, unknown)
    assert len(make_matrix(launches, unknown, num_shards=MAX_JOBS).include) == MAX_JOBS
