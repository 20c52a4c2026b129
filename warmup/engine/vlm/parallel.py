"""Tensor parallelism by hand (Shoeybi et al. 2019, Megatron-LM): which rows and columns of which
tensor a rank holds, and the two collectives that make it whole.

A column-parallel linear is a plain `Linear` of this rank's rows; only `RowLinear` communicates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Tp:
    """This rank's place. group: of torch.distributed, on the model's device; None for one rank."""

    rank: int = 0
    size: int = 1
    group: Any = None

    def get_span(self, total: int) -> tuple[int, int]:
        """(start, length) of this rank's share of `total`, which `size` divides."""
        length = total // self.size
        return self.rank * length, length

    def sum(self, x: torch.Tensor) -> torch.Tensor:
        """x summed over the ranks, in place."""
        if self.size > 1:
            dist.all_reduce(x, group=self.group)
        return x

    def gather_last(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, n) of each rank → (rows, size · n), in rank order."""
        if self.size == 1:
            return x
        parts = [torch.empty_like(x) for _ in range(self.size)]
        dist.all_gather(parts, x.contiguous(), group=self.group)
        return torch.cat(parts, dim=-1)


class RowLinear(torch.nn.Module):
    """A linear whose input is spread over the ranks; the bias is added once, after the sum."""

    def __init__(self, in_features: int, out_features: int, has_bias: bool, tp: Tp) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(in_features, out_features, bias=False)
        self.bias = torch.nn.Parameter(torch.empty(out_features)) if has_bias else None
        self._tp = tp

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self._tp.sum(self.linear(x))
        return out if self.bias is None else out + self.bias


@dataclass(frozen=True)
class Slot:
    """Where a tensor of a checkpoint goes: `module.leaf`, all of it or pieces along `dim`.

    pieces: (start in the parameter, start in the checkpoint's tensor, length).
    shape: the checkpoint's tensor's.
    """

    module: torch.nn.Module
    leaf: str
    shape: tuple[int, ...]
    dim: int = 0
    pieces: tuple[tuple[int, int, int], ...] = ()

    def fill(self, source: Any) -> None:
        """source: a tensor, or safetensors' lazy slice of one: only what is needed is read."""
        target = getattr(self.module, self.leaf).data
        if not self.pieces:
            target.copy_(source[:].view(target.shape))
        for start, source_start, length in self.pieces:
            span = slice(source_start, source_start + length)
            part = source[span] if self.dim == 0 else source[:, span]
            target.narrow(self.dim, start, length).copy_(part)


@dataclass
class Plan:
    """The slots of a model as it is rebuilt: name of a checkpoint's tensor → its place."""

    slots: dict[str, Slot] = field(default_factory=dict)

    def add_rows(
        self,
        name: str,
        linear: torch.nn.Linear,
        total: int,
        pieces: tuple[tuple[int, int, int], ...],
    ) -> None:
        """Rows of `<name>.weight` (total, in) and of its bias, if it has one, go to `linear`."""
        self.slots[f"{name}.weight"] = Slot(
            linear, "weight", (total, linear.in_features), 0, pieces
        )
        if linear.bias is not None:
            self.slots[f"{name}.bias"] = Slot(linear, "bias", (total,), 0, pieces)

    def make_row_linear(self, name: str, old: torch.nn.Linear, tp: Tp) -> RowLinear:
        """`old` spread over the ranks by its columns."""
        start, length = tp.get_span(old.in_features)
        has_bias = old.bias is not None
        new = RowLinear(length, old.out_features, has_bias, tp)
        shape = tuple(old.weight.shape)
        self.slots[f"{name}.weight"] = Slot(new.linear, "weight", shape, 1, ((0, start, length),))
        if has_bias:
            self.slots[f"{name}.bias"] = Slot(new, "bias", (old.out_features,))
        return new

    def make_column_linear(
        self, names: tuple[str, ...], olds: tuple[torch.nn.Linear, ...], tp: Tp
    ) -> torch.nn.Linear:
        """Several linears of one input as one: this rank's rows of each, one after the other."""
        spans = [tp.get_span(old.out_features) for old in olds]
        new = torch.nn.Linear(
            olds[0].in_features, sum(n for _, n in spans), bias=olds[0].bias is not None
        )
        place = 0
        for name, old, (start, length) in zip(names, olds, spans, strict=True):
            self.add_rows(name, new, old.out_features, ((place, start, length),))
            place += length
        return new

    def add_whole(self, prefix: str, model: torch.nn.Module) -> None:
        """Every parameter that has no slot yet keeps its name and is the same on all ranks."""
        taken = {(slot.module, slot.leaf) for slot in self.slots.values()}
        for path, module in model.named_modules():
            for leaf, parameter in module.named_parameters(recurse=False):
                if (module, leaf) not in taken:
                    name = ".".join(part for part in (prefix, path, leaf) if part)
                    self.slots[name] = Slot(module, leaf, tuple(parameter.shape))
