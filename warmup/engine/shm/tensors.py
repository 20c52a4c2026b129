"""Tensors in shared memory: what travels is a `Handle`, not the numbers.

`share` is the sender's half and never fails for lack of shared memory: what does not fit goes
inline, as a tensor. `open_all` is the receiver's half and never raises: it keeps the error, since
a rank that raises while the others wait in a collective hangs them all.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from warmup.engine.shm import segment

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Handle:
    """A tensor in shared memory: segment name, shape, dtype (torch's name without `torch.`)."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def torch_dtype(self) -> torch.dtype:
        found = getattr(torch, self.dtype, None)
        if not isinstance(found, torch.dtype):
            raise ValueError(f"{self.dtype} is no tensor type")
        return found

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.torch_dtype.itemsize


class Outbox:
    """The segments that this process made and that may still need its hand.

    The ranks unlink what they received; `discard` and `close` remove what never reached them
    (an aborted request, a dead scheduler). Both are harmless for what is gone already.
    """

    def __init__(self, directory: Path = segment.DIRECTORY) -> None:
        self._directory = directory
        self._names: set[str] = set()
        self._has_warned = False
        self.num_inline = 0

    def share(self, tensor: torch.Tensor) -> Handle | torch.Tensor:
        """A handle on a copy of `tensor` (CPU, any shape); the tensor itself where that cannot be.

        Zero-byte and zero-dimensional tensors go inline, and so does everything while shared
        memory is full; the first time that it is, one warning says so.
        """
        if tensor.dim() == 0 or tensor.numel() == 0:
            return tensor
        flat = tensor.detach().contiguous().view(-1).view(torch.uint8)
        try:
            name = segment.create(memoryview(flat.numpy()), self._directory)
        except OSError as error:
            self.num_inline += 1
            if not self._has_warned:
                self._has_warned = True
                log.warning(
                    "no shared memory in %s (%s): image features are sent inline, which is slower",
                    self._directory,
                    error.strerror or error,
                )
            return tensor
        self._names.add(name)
        return Handle(name, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))

    def discard(self, tree: Any) -> None:
        """Remove the segments of every handle in `tree`."""
        for handle in find_handles(tree):
            segment.unlink(handle.name, self._directory)
            self._names.discard(handle.name)

    def close(self) -> None:
        for name in self._names:
            segment.unlink(name, self._directory)
        self._names.clear()


def find_handles(tree: Any) -> Iterator[Handle]:
    """Every handle in lists, tuples, dicts and dataclasses, at any depth."""
    if isinstance(tree, Handle):
        yield tree
    else:
        for branch in _get_branches(tree):
            yield from find_handles(branch)


def _get_branches(tree: Any) -> list[Any]:
    if isinstance(tree, (list, tuple)):
        return list(tree)
    if isinstance(tree, dict):
        return list(tree.values())
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return [getattr(tree, field.name) for field in dataclasses.fields(tree)]
    return []


def open_all(tree: Any, directory: Path = segment.DIRECTORY) -> tuple[Any, str | None]:
    """`tree` with each handle replaced by its tensor, and None; or None and what went wrong.

    The tensors are private mappings: they stand after the segments are unlinked.
    """
    try:
        return _replace(tree, lambda handle: _open(handle, directory)), None
    except Exception as error:  # every kind is kept: see the module's docstring
        return None, f"{type(error).__name__}: {error}"


def _open(handle: Handle, directory: Path) -> torch.Tensor:
    mapping = segment.open_private(handle.name, handle.num_bytes, directory)
    return torch.frombuffer(mapping, dtype=handle.torch_dtype).reshape(handle.shape)


def _replace(tree: Any, change: Callable[[Handle], Any]) -> Any:
    if isinstance(tree, Handle):
        return change(tree)
    if isinstance(tree, list):
        return [_replace(branch, change) for branch in tree]
    if isinstance(tree, tuple):
        branches = [_replace(branch, change) for branch in tree]
        return type(tree)(*branches) if hasattr(tree, "_fields") else tuple(branches)
    if isinstance(tree, dict):
        return {key: _replace(branch, change) for key, branch in tree.items()}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        fields = {f.name: _replace(getattr(tree, f.name), change) for f in dataclasses.fields(tree)}
        return dataclasses.replace(tree, **fields)
    return tree
