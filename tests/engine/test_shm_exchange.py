import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.gloo import run_ranks
from warmup.engine.messages import Failure
from warmup.engine.ranks import Ranks
from warmup.engine.shm import segment
from warmup.engine.shm.exchange import FAULT_VARIABLE, FeatureExchange, Setup, needs_barrier
from warmup.engine.shm.tensors import Handle, Outbox, make_inline

VLM = Setup(is_multimodal=True)
HANDLE = Handle("warmup-ci.1.2.3.4", (2,), "float32")


@pytest.mark.parametrize(
    "items", [[HANDLE], [[HANDLE]], [("x", (HANDLE,))], [{"a": [{"b": HANDLE}]}], [[[HANDLE], []]]]
)
def test_a_shared_feature_anywhere_needs_the_barrier(items: list[Any]) -> None:
    assert needs_barrier(items, 2, VLM)


@pytest.mark.parametrize(
    ("items", "world_size", "setup"),
    [
        ([], 2, VLM),
        (["text", {"ids": [1, 2]}], 2, VLM),
        ([make_inline(torch.ones(2))], 2, VLM),
        ([HANDLE], 1, VLM),
        ([HANDLE], 2, Setup(is_multimodal=False)),
        ([HANDLE], 2, Setup(is_multimodal=True, dp_attention=True)),
    ],
)
def test_no_barrier_otherwise(items: list[Any], world_size: int, setup: Setup) -> None:
    assert not needs_barrier(items, world_size, setup)


class _Alone:
    """A group of one rank, in which no collective may be entered but the broadcast."""

    rank = 0
    world_size = 1

    def broadcast(self, value: Any) -> Any:
        return value

    def barrier(self) -> None:
        raise AssertionError("one rank needs no barrier")

    def agree_each(self, failures: Sequence[Failure | None]) -> list[Failure | None]:
        raise AssertionError("one rank agrees with itself")


def test_one_rank_opens_and_unlinks_without_a_barrier(tmp_path: Path) -> None:
    exchange = FeatureExchange(_Alone(), VLM, tmp_path)
    tensor = torch.randn(4, 4)
    items, failures = exchange.receive([Outbox(tmp_path).share(tensor), "text"])
    assert failures == [None, None]
    assert torch.equal(items[0], tensor) and items[1] == "text"
    assert exchange.num_barriers == 0 and not any(tmp_path.iterdir())


def test_one_rank_contains_a_failure(tmp_path: Path) -> None:
    items, failures = FeatureExchange(_Alone(), VLM, tmp_path).receive([HANDLE, "text"])
    assert items == [None, "text"] and failures[1] is None
    assert failures[0] is not None and "FileNotFoundError" in failures[0].message


def _count_barriers(ranks: Ranks) -> list[int]:
    """A list that grows by one with every barrier of these ranks."""
    entered: list[int] = []
    barrier = ranks.barrier
    ranks.barrier = lambda: (entered.append(1), barrier())[1]  # type: ignore[method-assign, func-returns-value]
    return entered


def _trade(ranks: Ranks, folder: str, fault: str) -> dict[str, Any]:
    os.environ[FAULT_VARIABLE] = fault
    outbox = Outbox(Path(folder))
    exchange = FeatureExchange(ranks, VLM, Path(folder))
    entered = _count_barriers(ranks)
    seen: list[tuple[list[Any], int]] = []
    batches: list[list[Any]] = [[]] * 5
    if ranks.rank == 0:
        batches = [
            ["text only"],
            [make_inline(torch.full((3,), 7.0))],
            [{"features": [outbox.share(torch.full((3,), float(i)))]} for i in range(4)],
            [],
            ["text", (outbox.share(torch.full((2, 2), 9.0)),)],
        ]
    for batch in batches:
        items, failures = exchange.receive(ranks.broadcast(batch))
        assert not any(failures)
        seen.append((items, exchange.num_barriers))
    return {"seen": seen, "entered": len(entered)}


@pytest.mark.parametrize("fault", ["1:0.3", "0:0.3"])
def test_two_ranks_see_the_same_with_one_barrier_per_image_batch(
    tmp_path: Path, fault: str
) -> None:
    shm = tmp_path / "shm"
    shm.mkdir()
    for rank in run_ranks(tmp_path, _trade, str(shm), fault):
        assert [barriers for _, barriers in rank["seen"]] == [0, 0, 1, 1, 2]
        assert rank["entered"] == 2
        items = [items for items, _ in rank["seen"]]
        assert items[0] == ["text only"] and torch.equal(items[1][0], torch.full((3,), 7.0))
        assert [item["features"][0][0].item() for item in items[2]] == [0.0, 1.0, 2.0, 3.0]
        assert torch.equal(items[4][1][0], torch.full((2, 2), 9.0))
    assert not any(shm.iterdir())


def _lose_one(ranks: Ranks, folder: str) -> tuple[list[Any], list[Failure | None]]:
    """The middle feature is gone when rank 1 opens it; rank 0 has opened it and waits."""
    outbox = Outbox(Path(folder))
    sent = [outbox.share(torch.full((3,), float(i))) for i in range(3)] if ranks.rank == 0 else []
    items = ranks.broadcast(sent)
    if ranks.rank == 1:
        broadcast, opened = ranks.broadcast, Path(folder).parent / "opened"

        def lose_after_the_broadcast(value: Any) -> Any:
            received = broadcast(value)
            _wait_for(opened)
            segment.unlink(items[1].name, Path(folder))
            return received

        ranks.broadcast = lose_after_the_broadcast  # type: ignore[method-assign]
    else:
        barrier, opened = ranks.barrier, Path(folder).parent / "opened"
        ranks.barrier = lambda: (opened.touch(), barrier())[1]  # type: ignore[method-assign, func-returns-value]
    return FeatureExchange(ranks, VLM, Path(folder)).receive(items)


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_failure_on_one_rank_is_agreed_and_contained(tmp_path: Path) -> None:
    shm = tmp_path / "shm"
    shm.mkdir()
    first, second = run_ranks(tmp_path, _lose_one, str(shm))
    for items, failures in (first, second):
        assert failures[0] is None and failures[2] is None
        assert failures[1].message.startswith("rank 1: image features could not be opened")
        assert items[1] is None and items[2][0].item() == 2.0
    assert first[1] == second[1]
    assert not any(shm.iterdir())


def _trade_under_dp_attention(ranks: Ranks, folder: str) -> tuple[Any, ...]:
    exchange = FeatureExchange(ranks, Setup(is_multimodal=True, dp_attention=True), Path(folder))
    entered = _count_barriers(ranks)
    sent = [Outbox(Path(folder)).share(torch.ones(3)), HANDLE, "text"] if ranks.rank == 0 else []
    return (*exchange.receive(ranks.broadcast(sent)), len(entered))


def test_without_a_barrier_several_ranks_get_the_tensor_itself(tmp_path: Path) -> None:
    shm = tmp_path / "shm"
    shm.mkdir()
    for items, failures, num_barriers in run_ranks(tmp_path, _trade_under_dp_attention, str(shm)):
        assert torch.equal(items[0], torch.ones(3)) and items[1:] == [None, "text"]
        assert failures[0] is None and failures[1] is not None and num_barriers == 0
    assert not any(shm.iterdir())
