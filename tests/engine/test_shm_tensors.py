import collections
import dataclasses
import errno
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from warmup.engine.shm.tensors import Handle, Inline, Outbox, find_handles, open_all

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]


@dataclasses.dataclass(frozen=True)
class _Item:
    id: str
    features: Any


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tensor_survives_the_trip_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = (torch.randn(3, 5, 2) * 4).to(dtype).transpose(0, 1)
    outbox = Outbox(tmp_path)
    handle = outbox.share(tensor)
    assert isinstance(handle, Handle)
    opened, error = open_all(handle, tmp_path)
    assert error is None
    outbox.close()
    assert opened.dtype == dtype and torch.equal(opened, tensor)
    assert not any(tmp_path.iterdir())


@given(shape=st.lists(st.integers(0, 4), max_size=4))
@settings(max_examples=40, deadline=None)
def test_any_shape_travels_and_empty_ones_go_inline(
    tmp_path_factory: pytest.TempPathFactory, shape: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("shm")
    tensor = torch.randn(shape)
    outbox = Outbox(folder)
    shared = outbox.share(tensor)
    is_inline = not shape or 0 in shape
    assert isinstance(shared, Inline) is is_inline
    opened, error = open_all(shared, folder)
    assert error is None and torch.equal(opened, tensor)
    assert outbox.num_inline == 0
    outbox.close()
    assert not any(folder.iterdir())


def test_nested_batches_are_searched_and_replaced(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    tensors = [torch.full((2,), float(i)) for i in range(5)]
    handles = [outbox.share(tensor) for tensor in tensors]
    tree = [
        _Item("a", {"pixel_values": handles[0], "grid": (1, 2, 3)}),
        (handles[1], [handles[2], {"deep": [(handles[3],)]}]),
        Point(handles[4], "y"),
        "text",
        None,
    ]
    assert list(find_handles(tree)) == handles
    opened, error = open_all(tree, tmp_path)
    assert error is None
    assert torch.equal(opened[0].features["pixel_values"], tensors[0])
    assert opened[0].features["grid"] == (1, 2, 3) and opened[0].id == "a"
    assert torch.equal(opened[1][1][1]["deep"][0][0], tensors[3])
    assert torch.equal(opened[2].x, tensors[4]) and opened[3:] == ["text", None]
    assert next(find_handles(opened), None) is None
    outbox.discard(tree)
    assert not any(tmp_path.iterdir())


def test_opening_never_raises(tmp_path: Path) -> None:
    for handle in (
        Handle("gone", (2,), "float32"),
        Handle("gone", (2,), "no_such_type"),
        Handle("gone", (2,), "nn"),
        Inline(b"abc", (2,), "float32"),
        Inline(b"abc", (-1,), "int8"),
    ):
        opened, error = open_all([handle], tmp_path)
        assert opened is None and error is not None
    assert "FileNotFoundError" in (open_all(Handle("gone", (2,), "int8"), tmp_path)[1] or "")


def test_full_shared_memory_goes_inline_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    outbox = Outbox(tmp_path)
    with caplog.at_level(logging.WARNING):
        sent = [outbox.share(torch.ones(3)) for _ in range(3)]
    assert all(isinstance(each, Inline) for each in sent)
    assert all(torch.equal(open_all(each)[0], torch.ones(3)) for each in sent)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No space left" in caplog.text
    assert outbox.num_inline == 3 and not any(tmp_path.iterdir())


def test_a_missing_directory_goes_inline_too(tmp_path: Path) -> None:
    assert isinstance(Outbox(tmp_path / "none").share(torch.ones(3)), Inline)
