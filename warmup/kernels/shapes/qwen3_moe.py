"""Qwen3-MoE, FP8: Qwen3's attention, experts in all layers but those that the config names.

Facts: sglang 0.5.22 and 0.5.23, srt/models/qwen3_moe.py (Qwen3MoeDecoderLayer,
Qwen3MoeSparseMoeBlock). No shared experts; an expert's size alone decides, as every layer has
the same.
"""

from __future__ import annotations

from warmup.kernels.products import Products
from warmup.kernels.shapes.qwen3 import derive_attention

name = "qwen3_moe"
classes = ("Qwen3MoeForCausalLM",)
model_types = ("qwen3_moe",)


def derive(products: Products) -> None:
    config, layout = products.config, products.layout
    num_layers, hidden = config.get_size("num_hidden_layers"), config.get_size("hidden_size")
    derive_attention(products)
    step, bare = (
        config.get_size("decoder_sparse_step", 1),
        config.find_list("mlp_only_layers") or [],
    )
    dense = [layer for layer in range(num_layers) if layer in bare or (layer + 1) % step]
    if dense:
        width = config.get_size("intermediate_size")
        products.add_mlp("mlp", hidden, width, layout.dense_tp, dense)
    if len(dense) < num_layers:
        width, routed = config.get_size("moe_intermediate_size"), config.get_size("num_experts")
        products.add_experts(hidden, width, routed, 0)
