"""MiMo-V2-Flash and V2.5: full and sliding-window attention by layer, experts in most layers.

Facts: sglang 0.5.22 and 0.5.23, srt/models/mimo_v2.py (MiMoV2DecoderLayer, MiMoV2Attention,
MiMoV2MoE). Query and value heads differ in width; no shared experts. The checkpoints keep
`o_proj` in bf16 (`ignored_layers`).
"""

from __future__ import annotations

from typing import Any

from warmup.kernels.config import Config
from warmup.kernels.products import Products
from warmup.kernels.shapes.architecture import NotModelledError

name = "mimo"
classes = ("MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM")
model_types = ("mimo_v2_flash", "mimo_v2")


def derive(products: Products) -> None:
    config, layout = products.config, products.layout
    num_layers, hidden = config.get_size("num_hidden_layers"), config.get_size("hidden_size")
    pattern = _get_pattern(config, "hybrid_layer_pattern", num_layers)
    sparse = _get_pattern(config, "moe_layer_freq", num_layers)
    head_dim = config.get_size("head_dim")
    v_head_dim = config.get_size("v_head_dim", head_dim)
    full = [layer for layer in range(num_layers) if pattern[layer] != 1]
    sliding = [layer for layer in range(num_layers) if pattern[layer] == 1]
    if full:
        heads, kv_heads = (
            config.get_size("num_attention_heads"),
            config.get_size("num_key_value_heads"),
        )
        products.add_attention(heads, kv_heads, head_dim, v_head_dim, full)
    if sliding:
        swa_dim = config.get_size("swa_head_dim", head_dim)
        products.add_attention(
            config.get_size("swa_num_attention_heads"),
            config.get_size("swa_num_key_value_heads"),
            swa_dim,
            config.get_size("swa_v_head_dim", swa_dim),
            sliding,
        )
    dense = [layer for layer in range(num_layers) if not sparse[layer]]
    if dense:
        width = config.get_size("intermediate_size")
        products.add_mlp("mlp", hidden, width, layout.dense_tp, dense)
    if len(dense) < num_layers:
        width, routed = (
            config.get_size("moe_intermediate_size"),
            config.get_size("n_routed_experts"),
        )
        products.add_experts(hidden, width, routed, 0)


def _get_pattern(config: Config, key: str, num_layers: int) -> list[Any]:
    found = config.find_list(key)
    if found is None or len(found) < num_layers:
        raise NotModelledError(f"{key} does not name every layer's kind")
    return found
