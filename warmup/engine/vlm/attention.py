"""Attention of the language model over its cache, and of the vision encoder over its windows.

Both stand in for transformers' modules and take the arguments that those are called with.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from warmup.engine.vlm import ops
from warmup.engine.vlm.cache import KVCache


@dataclass(frozen=True)
class Heads:
    """Of this rank. dim: of one head."""

    num_q: int
    num_kv: int
    dim: int


def project(
    qkv: torch.nn.Module,
    heads: Heads,
    hidden: torch.Tensor,
    angles: tuple[torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """hidden: (..., width) → q, k, v: (rows, heads, dim) each, positions applied."""
    joint = qkv(hidden).view(-1, heads.num_q + 2 * heads.num_kv, heads.dim)
    q, k, v = joint.split((heads.num_q, heads.num_kv, heads.num_kv), dim=1)
    ops.rotate(q, k, *angles)
    return q, k, v


@dataclass
class CacheStep:
    """What one forward pass does to the cache; the same object serves all layers.

    row: of the request being prefilled; None while decoding, when the others are set.
    lengths: (n,) tokens in the cache of each row, the new ones not counted. rows: 0..n-1.
    mask: (n, 1, 1, longest), True for tokens that are there, the new ones among them.
    """

    row: int | None = None
    lengths: torch.Tensor | None = None
    rows: torch.Tensor | None = None
    mask: torch.Tensor | None = None


class CachedAttention(torch.nn.Module):
    """Causal attention with rotary positions and grouped queries, over `cache`."""

    def __init__(
        self,
        qkv: torch.nn.Linear,
        out: torch.nn.Module,
        heads: Heads,
        layer: int,
        cache: KVCache,
        step: CacheStep,
    ) -> None:
        super().__init__()
        self.qkv = qkv
        self.out = out
        self.heads = heads
        self._layer = layer
        self._cache = cache
        self._step = step

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        **_: Any,
    ) -> tuple[torch.Tensor, None]:
        """hidden_states: (1, tokens, width) in a prefill, (n, 1, width) in a decode step."""
        q, k, v = project(self.qkv, self.heads, hidden_states, position_embeddings)
        mixed = self._prefill(q, k, v) if self._step.row is not None else self._decode(q, k, v)
        return self.out(mixed.view(*hidden_states.shape[:2], -1)), None

    def _prefill(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """(tokens, heads, dim) each → (tokens, heads · dim)."""
        tokens, row = q.shape[0], self._step.row
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        self._cache.keys[self._layer, row, :, :tokens] = k[0]
        self._cache.values[self._layer, row, :, :tokens] = v[0]
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return mixed[0].transpose(0, 1).reshape(tokens, -1)

    def _decode(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """(n, heads, dim) each → (n, heads · dim).

        The queries of one KV head go as its "tokens": grouped attention without repeating keys.
        """
        step, n = self._step, q.shape[0]
        assert step.mask is not None
        keys, values = self._cache.keys[self._layer], self._cache.values[self._layer]
        keys[step.rows, :, step.lengths] = k
        values[step.rows, :, step.lengths] = v
        longest = step.mask.shape[-1]
        mixed = F.scaled_dot_product_attention(
            q.view(n, self.heads.num_kv, -1, self.heads.dim),
            keys[:n, :, :longest],
            values[:n, :, :longest],
            attn_mask=step.mask,
        )
        return mixed.reshape(n, -1)


class Segments:
    """Which tokens attend to one another, worked out once a pass and not once a layer.

    A pass has two layouts at most, windows and whole images; the two last asked for are kept.
    """

    def __init__(self) -> None:
        self._known: list[tuple[torch.Tensor, list[torch.Tensor]]] = []

    def get_groups(self, bounds: torch.Tensor) -> list[torch.Tensor]:
        """bounds: (segments + 1,), where each starts → a (segments, length) index per length."""
        for known, groups in self._known:
            if known is bounds:
                return groups
        groups = []
        for length, starts in _group_by_length(bounds.tolist()).items():
            first = torch.tensor(starts, device=bounds.device)
            groups.append(first[:, None] + torch.arange(length, device=bounds.device))
        self._known = [*self._known[-1:], (bounds, groups)]
        return groups


def _group_by_length(bounds: list[int]) -> dict[int, list[int]]:
    """[0, 4, 8, 10] → {4: [0, 4], 2: [8]}: the starts of the segments of each length."""
    starts: defaultdict[int, list[int]] = defaultdict(list)
    for start, end in itertools.pairwise(bounds):
        starts[end - start].append(start)
    return starts


class WindowAttention(torch.nn.Module):
    """The vision encoder's: tokens see those of their own segment, an image or a window of it.

    Segments of one length are one batch; transformers 5.23 attends to each in its own call.
    """

    def __init__(
        self, qkv: torch.nn.Linear, out: torch.nn.Module, heads: Heads, segments: Segments
    ) -> None:
        super().__init__()
        self.qkv = qkv
        self.proj = out
        self.heads = heads
        self._segments = segments

    def forward(
        self,
        hidden_states: torch.Tensor,
        cu_seqlens: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        **_: Any,
    ) -> torch.Tensor:
        """hidden_states: (patches, width). cu_seqlens: (segments + 1,), where each starts."""
        q, k, v = project(self.qkv, self.heads, hidden_states, position_embeddings)
        out = torch.empty_like(q)
        for tokens in self._segments.get_groups(cu_seqlens):
            batch = (x[tokens].transpose(1, 2) for x in (q, k, v))
            out[tokens] = F.scaled_dot_product_attention(*batch).transpose(1, 2)
        return self.proj(out.flatten(1))
