"""Qwen3 dense, FP8: grouped-query attention and a gated MLP in every layer.

Facts: sglang 0.5.22 and 0.5.23, srt/models/qwen3.py and qwen2.py (Qwen2MLP).
"""

from __future__ import annotations

from warmup.kernels.products import Products

name = "qwen3"
classes = ("Qwen3ForCausalLM",)
model_types = ("qwen3",)


def derive(products: Products) -> None:
    config = products.config
    layers, hidden = range(config.get_size("num_hidden_layers")), config.get_size("hidden_size")
    derive_attention(products)
    width = config.get_size("intermediate_size")
    products.add_mlp("mlp", hidden, width, products.layout.dense_tp, layers)


def derive_attention(products: Products) -> None:
    config = products.config
    heads, hidden = config.get_size("num_attention_heads"), config.get_size("hidden_size")
    head_dim = config.get_size("head_dim", max(hidden // heads, 1))
    layers = range(config.get_size("num_hidden_layers"))
    kv_heads = config.get_size("num_key_value_heads", heads)
    products.add_attention(heads, kv_heads, head_dim, head_dim, layers)
