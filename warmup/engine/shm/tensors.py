"""Tensors in shared memory: what travels is a `Handle`, not the numbers.

`share` is the sender's half and never fails for lack of shared memory: what does not fit goes
inline. `open_all` is the receiver's half and never raises: it keeps the error, since a rank that
raises while the others wait in a collective hangs them all.
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


@dataclasses.dataclass(frozen=True)
class Inline:
    """A tensor's bytes themselves.

    Not the tensor: `multiprocessing`'s connections would pickle one by torch's own way, through
    shared memory again.
    """

    content: bytes
    shape: tuple[int, ...]
    dtype: str


def make_inline(tensor: torch.Tensor) -> Inline:
    return Inline(bytes(_get_bytes(tensor)), tuple(tensor.shape), _get_name(tensor.dtype))


def _get_bytes(tensor: torch.Tensor) -> memoryview:
    """Of a CPU tensor, in C order; its own memory where it is contiguous."""
    flat = tensor.detach().contiguous().view(-1)
    return memoryview(flat.view(torch.uint8).numpy())


def _get_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _get_dtype(name: str) -> torch.dtype:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"{name} is not a tensor type")
    return found


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

    def share(self, tensor: torch.Tensor) -> Handle | Inline:
        """A handle on a copy of `tensor` (CPU, any shape); the copy itself where that cannot be.

        Zero-byte and zero-dimensional tensors go inline, and so does everything while shared
        memory is full; the first time that it is, one warning says so.
        """
        if tensor.dim() == 0 or tensor.numel() == 0:
            return make_inline(tensor)
        try:
            name = segment.create(_get_bytes(tensor), self._directory)
        except OSError as error:
            self.num_inline += 1
            if not self._has_warned:
                self._has_warned = True
                log.warning(
                    "no shared memory in %s (%s): image features are sent inline, which is slower",
                    self._directory,
                    error.strerror or error,
                )
            return make_inline(tensor)
        self._names.add(name)
        return Handle(name, tuple(tensor.shape), _get_name(tensor.dtype))

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
    """`tree` with tensors for its handles and inline bytes, and None; or None and what went wrong.

    The tensors are copies: they stand when the segments are unlinked.
    """
    try:
        return _replace(tree, lambda sent: _open(sent, directory)), None
    except Exception as error:  # every kind is kept: see the module's docstring
        return None, f"{type(error).__name__}: {error}"


def _open(sent: Handle | Inline, directory: Path) -> torch.Tensor:
    dtype = _get_dtype(sent.dtype)
    content = torch.empty(math.prod(sent.shape) * dtype.itemsize, dtype=torch.uint8)
    if isinstance(sent, Handle):
        segment.read(sent.name, memoryview(content.numpy()), directory)
    else:
        memoryview(content.numpy())[:] = sent.content
    return content.view(dtype).reshape(sent.shape)


def _replace(tree: Any, change: Callable[[Handle | Inline], Any]) -> Any:
    if isinstance(tree, (Handle, Inline)):
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
