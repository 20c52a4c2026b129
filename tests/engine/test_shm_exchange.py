import os
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.gloo import GlooGroup, run_ranks
from warmup.engine.shm import segment
from warmup.engine.shm.exchange import FAULT_VARIABLE, Exchange, Received, Setup, needs_barrier
from warmup.engine.shm.tensors import Handle, Outbox

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
        ([torch.ones(2)], 2, VLM),
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

    def sum_flags(self, flags: torch.Tensor) -> torch.Tensor:
        raise AssertionError("one rank agrees with itself")


def test_one_rank_opens_and_unlinks_without_a_barrier(tmp_path: Path) -> None:
    exchange = Exchange(_Alone(), VLM, tmp_path)
    tensor = torch.randn(4, 4)
    received = exchange.broadcast("go", [Outbox(tmp_path).share(tensor), "text"])
    assert received.control == "go" and received.errors == [None, None]
    assert torch.equal(received.items[0], tensor) and received.items[1] == "text"
    assert exchange.num_barriers == 0 and not any(tmp_path.iterdir())


def test_one_rank_contains_a_failure(tmp_path: Path) -> None:
    received = Exchange(_Alone(), VLM, tmp_path).broadcast(None, [HANDLE, "text"])
    assert received.items == [None, "text"]
    assert "FileNotFoundError" in (received.errors[0] or "") and received.errors[1] is None


def _trade(group: GlooGroup, folder: str, fault: str | None) -> dict[str, Any]:
    if fault is not None:
        os.environ[FAULT_VARIABLE] = fault
    outbox = Outbox(Path(folder))
    exchange = Exchange(group, VLM, Path(folder))
    seen: list[tuple[list[Any], int]] = []
    for batch in (
        ["text only"],
        [torch.full((3,), 7.0)],
        [{"features": [outbox.share(torch.full((3,), float(i)))]} for i in range(4)],
        [],
        ["text", (outbox.share(torch.full((2, 2), 9.0)),)],
    ):
        if group.rank == 0:
            received = exchange.broadcast("step", batch)
        else:
            outbox.discard(batch)  # a rank's own arguments are ignored
            received = exchange.broadcast()
        assert received.control == "step" and not any(received.errors)
        seen.append((received.items, exchange.num_barriers))
    return {"seen": seen, "barriers": group.num_barriers}


@pytest.mark.parametrize("fault", [None, "1:0.3", "0:0.3"])
def test_two_ranks_see_the_same_with_one_barrier_per_image_batch(
    tmp_path: Path, fault: str | None
) -> None:
    shm = tmp_path / "shm"
    shm.mkdir()
    first, second = run_ranks(tmp_path, _trade, str(shm), fault)
    for rank in (first, second):
        assert [barriers for _, barriers in rank["seen"]] == [0, 0, 1, 1, 2]
        assert rank["barriers"] == 2
        items = [items for items, _ in rank["seen"]]
        assert items[0] == ["text only"] and torch.equal(items[1][0], torch.full((3,), 7.0))
        assert [item["features"][0][0].item() for item in items[2]] == [0.0, 1.0, 2.0, 3.0]
        assert torch.equal(items[4][1][0], torch.full((2, 2), 9.0))
    assert not any(shm.iterdir())


def _lose_one(group: GlooGroup, folder: str) -> Received:
    """The middle feature vanishes after rank 0 has opened it and before rank 1 has."""
    outbox = Outbox(Path(folder))
    exchange = Exchange(group, VLM, Path(folder))
    gone = Path(folder).parent / "gone"
    if group.rank == 1:
        whole_broadcast = group.broadcast

        def broadcast_then_lose(value: Any) -> Any:
            received = whole_broadcast(value)
            segment.unlink(received[1][1].name, Path(folder))
            gone.touch()
            return received

        group.broadcast = broadcast_then_lose  # type: ignore[method-assign]
        return exchange.broadcast()
    items = [outbox.share(torch.full((3,), float(i))) for i in range(3)]
    return exchange.broadcast(None, items)


def test_a_failure_on_one_rank_is_agreed_and_contained(tmp_path: Path) -> None:
    shm = tmp_path / "shm"
    shm.mkdir()
    received = run_ranks(tmp_path, _lose_one, str(shm))
    for rank in received:
        assert rank.errors[0] is None and rank.errors[2] is None
        assert "image features could not be opened on rank" in rank.errors[1]
        assert "1" in rank.errors[1]
        assert rank.items[1] is None and rank.items[2][0].item() == 2.0
    assert received[0].errors == received[1].errors
    assert not any(shm.iterdir())


def _trade_under_dp_attention(group: GlooGroup, folder: str) -> tuple[Any, int]:
    exchange = Exchange(group, Setup(is_multimodal=True, dp_attention=True), Path(folder))
    items = [Outbox(Path(folder)).share(torch.ones(3))] if group.rank == 0 else []
    return exchange.broadcast(None, items).items[0], group.num_barriers


def test_without_a_barrier_several_ranks_get_the_tensor_itself(tmp_path: Path) -> None:
    shm = tmp_path / "shm"
    shm.mkdir()
    for item, num_barriers in run_ranks(tmp_path, _trade_under_dp_attention, str(shm)):
        assert torch.equal(item, torch.ones(3)) and num_barriers == 0
    assert not any(shm.iterdir())
