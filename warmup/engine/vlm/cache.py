"""Keys and values of the running requests, one row each.

Rows 0..n-1 are always the n running requests: when one ends, the last row moves into its place.
So a decode step reads views of the first n rows, and copies nothing.
"""

from __future__ import annotations

import torch


class KVCache:
    """keys, values: (layers, rows, heads of this rank, tokens, head dim)."""

    def __init__(
        self,
        shape: tuple[int, int, int, int, int],
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.num_rows = shape[1]
        self.max_len = shape[3]
        self.lengths: list[int] = []

    @property
    def num_running(self) -> int:
        return len(self.lengths)

    def add(self, length: int) -> int:
        """A row for a request of `length` tokens, about to be written. Raises ValueError."""
        if self.num_running == self.num_rows or not 0 < length <= self.max_len:
            raise ValueError(f"no room for {length} tokens beside {self.num_running} requests")
        self.lengths.append(length)
        return self.num_running - 1

    def remove(self, row: int) -> None:
        """Forget `row`; the last row takes its number."""
        last = self.num_running - 1
        if row != last:
            length = self.lengths[last]
            self.keys[:, row, :, :length] = self.keys[:, last, :, :length]
            self.values[:, row, :, :length] = self.values[:, last, :, :length]
            self.lengths[row] = length
        self.lengths.pop()
