"""A vision-language model on one rank: prefill one request, decode one token of each running one.

All ranks call the same methods with the same arguments; what comes back is the same on all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from warmup.engine.args import ServerArgs
from warmup.engine.kernels.install import install
from warmup.engine.ranks import Ranks, get_dtype
from warmup.engine.vlm.build import build
from warmup.engine.vlm.families import check_tp, get_max_len, read_model
from warmup.engine.vlm.generation import Grid
from warmup.engine.vlm.parallel import Tp
from warmup.engine.vlm.positions import get_positions
from warmup.engine.vlm.weights import fill_randomly, load_checkpoint


class VisionLanguageModel:
    """Rows of `cache` are the running requests; `deltas[row]` turns a token's index into its
    position. installed: which kernels replaced how many modules. max_len: tokens of one request, as
    wished; the model's own limit holds too.

    Raises `WarmupError` for a folder, a size or a device that cannot be served.
    """

    def __init__(self, args: ServerArgs, ranks: Ranks, max_len: int) -> None:
        folder = Path(args.model)
        family, config = read_model(folder)
        max_len = get_max_len(config, max_len)
        check_tp(config, ranks.world_size)
        self._tp = Tp(ranks.rank, ranks.world_size, ranks.device_group)
        self._device = ranks.device
        self.dtype = get_dtype(args, ranks.device)
        self._image_token = config.image_token_id
        self._merge = config.vision_config.spatial_merge_size
        built = build(family, config, self._tp, self.dtype, self._device, args.max_batch, max_len)
        if args.load_format == "dummy":
            fill_randomly(built.slots, args.seed, ranks.rank)
        else:
            load_checkpoint(folder, family, built.slots)
        self.installed = install(built.model, args)
        self.config = config
        self.cache = built.cache
        self._step = built.step
        self._rotary = built.rotary
        self._visual = built.model.model.visual
        self._text = built.model.model.language_model
        self._head = built.model.lm_head
        self.deltas: list[int] = []

    @torch.inference_mode()
    def prefill(
        self, ids: Sequence[int], pixels: torch.Tensor | None, grids: Sequence[Grid]
    ) -> torch.Tensor:
        """A new last row, filled with `ids` and the images in them → its next token's logits.

        ids: image placeholders repeated, one per image token. pixels: (patches, values), of all
        images in order; None without images. Returns (vocabulary,). Raises ValueError, before
        any collective, if ids, pixels and grids do not fit each other or the cache.
        """
        positions, delta = get_positions(ids, self._image_token, grids, self._merge)
        self._check_pixels(pixels, grids)
        row = self.cache.add(len(ids))
        self.deltas.append(delta)
        tokens = torch.tensor(ids, device=self._device)
        hidden = self._text.embed_tokens(tokens)
        if pixels is not None:
            hidden[tokens == self._image_token] = self._see(pixels, grids).to(hidden.dtype)
        self._step.row = row
        last = self._run_layers(hidden[None], positions)[:, -1]
        return self._score(last)[0]

    @torch.inference_mode()
    def decode(self, tokens: Sequence[int]) -> torch.Tensor:
        """tokens[row] joins each running row → logits of the next ones, (rows, vocabulary)."""
        cache, step = self.cache, self._step
        lengths = torch.tensor(cache.lengths, device=self._device)
        rows = torch.arange(len(tokens), device=self._device)
        there = torch.arange(max(cache.lengths) + 1, device=self._device) <= lengths[:, None]
        step.row, step.rows, step.lengths, step.mask = None, rows, lengths, there[:, None, None]
        positions = lengths + torch.tensor(self.deltas, device=self._device)
        hidden = self._text.embed_tokens(torch.tensor(tokens, device=self._device))
        hidden = self._run_layers(hidden[:, None], positions.expand(3, -1))
        cache.lengths = [length + 1 for length in cache.lengths]
        return self._score(hidden[:, -1])

    def remove(self, row: int) -> None:
        """End the request of `row`; the last row takes its number."""
        self.cache.remove(row)
        self.deltas[row] = self.deltas[-1]
        self.deltas.pop()

    def _check_pixels(self, pixels: torch.Tensor | None, grids: Sequence[Grid]) -> None:
        patches = sum(t * h * w for t, h, w in grids)
        width = self._visual.patch_embed.proj.in_features
        shape = (0, width) if pixels is None else tuple(pixels.shape)
        if shape != (patches, width):
            raise ValueError(f"image features are {shape}, {(patches, width)} expected")

    def _see(self, pixels: torch.Tensor, grids: Sequence[Grid]) -> torch.Tensor:
        """(patches, values) → (image tokens, width of the language model)."""
        seen = self._visual(
            pixels.to(self._device, self.dtype), grid_thw=torch.tensor(grids, device=self._device)
        )
        # transformers 5.23 answers a struct, earlier ones its merged tokens.
        return getattr(seen, "pooler_output", seen)

    def _run_layers(self, hidden: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """hidden: (batch, tokens, width); positions: (3, batch · tokens)."""
        angles = self._rotary(positions.to(self._device))
        for layer in self._text.layers:
            hidden = layer(hidden, position_embeddings=angles)
        return self._text.norm(hidden)

    def _score(self, hidden: torch.Tensor) -> torch.Tensor:
        return self._tp.gather_last(self._head(hidden))
