"""From a transformers model class to a rank's share of it, laid out on its device.

The class is made on the meta device, where it costs nothing; its attention, MLPs, patch embedding
and head are replaced by ours, in this rank's sizes; then memory is given, and nothing is filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from warmup.engine.vlm.attention import CachedAttention, CacheStep, Heads, Segments, WindowAttention
from warmup.engine.vlm.cache import KVCache
from warmup.engine.vlm.families import Architecture
from warmup.engine.vlm.ops import GatedMlp
from warmup.engine.vlm.parallel import Plan, Slot, Tp
from warmup.engine.vlm.positions import Rotary

TEXT = "model.language_model"
VISION = "model.visual"
HEAD = "lm_head.weight"


@dataclass
class Built:
    """model: transformers' class, with our parts. slots: what a checkpoint must bring."""

    model: Any
    slots: dict[str, Slot]
    cache: KVCache
    step: CacheStep
    rotary: Rotary


def get_heads(text: Any, tp: Tp) -> tuple[Heads, int]:
    """This rank's heads, and the first of its KV heads: fewer KV heads than ranks are shared."""
    dim = text.hidden_size // text.num_attention_heads
    num_kv = max(text.num_key_value_heads // tp.size, 1)
    first_kv = tp.rank * text.num_key_value_heads // tp.size
    return Heads(text.num_attention_heads // tp.size, num_kv, dim), first_kv


def build(
    family: Architecture,
    config: Any,
    tp: Tp,
    dtype: torch.dtype,
    device: torch.device,
    max_batch: int,
    max_len: int,
) -> Built:
    import transformers

    text = config.text_config
    heads, _ = get_heads(text, tp)
    shape = (text.num_hidden_layers, max_batch, heads.num_kv, max_len, heads.dim)
    cache = KVCache(shape, dtype, device)
    step = CacheStep()
    plan = Plan()
    with torch.device("meta"):
        model = getattr(transformers, family.model_class)(config).eval()
        for index, layer in enumerate(model.model.language_model.layers):
            _replace_text_layer(plan, layer, f"{TEXT}.layers.{index}", text, tp, cache, step, index)
        _replace_vision(plan, model.model.visual, config.vision_config, family, tp)
        _replace_head(plan, model, text.vocab_size, tp)
    # Our parts among them: before the slots are listed, while a parameter's name can be its place.
    model.to(dtype)
    plan.add_whole("", model)
    rotaries = _remake_rotaries(model)
    model.to_empty(device=device).requires_grad_(False)
    model.model.visual.rotary_pos_emb = rotaries[VISION].to(device)
    rotary = Rotary(rotaries[TEXT], get_sections(text)).to(device)
    if config.tie_word_embeddings:
        start, length = tp.get_span(text.vocab_size)
        embedding = model.model.language_model.embed_tokens.weight
        model.lm_head.weight = torch.nn.Parameter(
            embedding.data[start : start + length], requires_grad=False
        )
        del plan.slots[HEAD]
    return Built(model, plan.slots, cache, step, rotary)


def get_sections(text: Any) -> list[int]:
    """How many frequencies go to time, height and width."""
    parameters = getattr(text, "rope_parameters", None) or text.rope_scaling
    return list(parameters["mrope_section"])


def _replace_text_layer(
    plan: Plan,
    layer: Any,
    name: str,
    text: Any,
    tp: Tp,
    cache: KVCache,
    step: CacheStep,
    index: int,
) -> None:
    heads, first_kv = get_heads(text, tp)
    old = layer.self_attn
    first_q = tp.rank * heads.num_q
    width = (heads.num_q + 2 * heads.num_kv) * heads.dim
    qkv = torch.nn.Linear(text.hidden_size, width, bias=old.q_proj.bias is not None)
    place = 0
    for leaf, first, count in (
        ("q_proj", first_q, heads.num_q),
        ("k_proj", first_kv, heads.num_kv),
        ("v_proj", first_kv, heads.num_kv),
    ):
        piece = (place, first * heads.dim, count * heads.dim)
        total = getattr(old, leaf).out_features
        plan.add_rows(f"{name}.self_attn.{leaf}", qkv, total, (piece,))
        place += count * heads.dim
    out = plan.make_row_linear(f"{name}.self_attn.o_proj", old.o_proj, tp)
    layer.self_attn = CachedAttention(qkv, out, heads, index, cache, step)
    layer.mlp = _make_gated_mlp(plan, layer.mlp, f"{name}.mlp", tp)


def _make_gated_mlp(plan: Plan, old: Any, name: str, tp: Tp) -> GatedMlp:
    names = (f"{name}.gate_proj", f"{name}.up_proj")
    gate_up = plan.make_column_linear(names, (old.gate_proj, old.up_proj), tp)
    return GatedMlp(gate_up, plan.make_row_linear(f"{name}.down_proj", old.down_proj, tp))


def _replace_vision(plan: Plan, visual: Any, vision: Any, family: Architecture, tp: Tp) -> None:
    """Spread over the ranks where its sizes divide; else every rank computes all of it."""
    down = getattr(visual.blocks[0].mlp, family.vision_down)
    if vision.num_heads % tp.size or down.in_features % tp.size:
        tp = Tp()
    segments = Segments()
    for index, block in enumerate(visual.blocks):
        name = f"{VISION}.blocks.{index}"
        block.attn = _make_window_attention(
            plan, block.attn, f"{name}.attn", vision.num_heads, tp, segments
        )
        if len(family.vision_up) == 2:
            block.mlp = _make_gated_mlp(plan, block.mlp, f"{name}.mlp", tp)
        else:
            for leaf in family.vision_up:
                full, old = f"{name}.mlp.{leaf}", getattr(block.mlp, leaf)
                setattr(block.mlp, leaf, plan.make_column_linear((full,), (old,), tp))
            full, old = f"{name}.mlp.{family.vision_down}", getattr(block.mlp, family.vision_down)
            setattr(block.mlp, family.vision_down, plan.make_row_linear(full, old, tp))
    visual.patch_embed = _make_patch_embed(plan, visual.patch_embed.proj)


def _make_window_attention(
    plan: Plan, old: Any, name: str, num_heads: int, tp: Tp, segments: Segments
) -> WindowAttention:
    """qkv holds all queries, then all keys, then all values: three pieces."""
    width = old.qkv.in_features
    start, length = tp.get_span(width)
    qkv = torch.nn.Linear(width, 3 * length, bias=old.qkv.bias is not None)
    pieces = tuple((i * length, i * width + start, length) for i in range(3))
    plan.add_rows(f"{name}.qkv", qkv, 3 * width, pieces)
    local = num_heads // tp.size
    out = plan.make_row_linear(f"{name}.proj", old.proj, tp)
    return WindowAttention(qkv, out, Heads(local, local, width // num_heads), segments)


class PatchEmbed(torch.nn.Module):
    """A convolution whose stride is its kernel is a linear of each flattened patch."""

    def __init__(self, proj: torch.nn.Linear) -> None:
        super().__init__()
        self.proj = proj

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return self.proj(patches.to(self.proj.weight.dtype))


def _make_patch_embed(plan: Plan, conv: torch.nn.Conv3d) -> PatchEmbed:
    flat = conv.weight[0].numel()
    linear = torch.nn.Linear(flat, conv.out_channels, bias=False)
    plan.slots[f"{VISION}.patch_embed.proj.weight"] = Slot(
        linear, "weight", tuple(conv.weight.shape)
    )
    return PatchEmbed(linear)


def _replace_head(plan: Plan, model: Any, vocab_size: int, tp: Tp) -> None:
    """Each rank scores its part of the vocabulary."""
    start, length = tp.get_span(vocab_size)
    head = torch.nn.Linear(model.lm_head.in_features, length, bias=False)
    plan.add_rows("lm_head", head, vocab_size, ((0, start, length),))
    model.lm_head = head


def _remake_rotaries(model: Any) -> dict[str, Any]:
    """The rotary modules anew, on the CPU: the frequencies they compute got lost on meta."""
    found = {TEXT: model.model.language_model.rotary_emb, VISION: model.model.visual.rotary_pos_emb}
    made = {}
    for name, old in found.items():
        # transformers before 5.23 makes the vision one from its width.
        argument = old.config if hasattr(old, "config") else 2 * old.inv_freq.numel()
        made[name] = type(old)(argument)
    return made
