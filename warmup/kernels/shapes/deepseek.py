"""DeepSeek V2, V3 and V3.2: multi-head latent attention, dense layers first, then experts.

Facts: sglang 0.5.22 and 0.5.23, srt/models/deepseek_v2.py (DeepseekV2AttentionMLA, DeepseekV2MoE,
shared_experts_fusion_disable_reason) and layers/attention/dsa/dsa_indexer.py; MLA's absorbed
products are DeepGEMM's only under SGLANG_USE_DEEPGEMM_BMM (models/deepseek_common/
deepseek_weight_loader.py). vLLM 0.33.0 builds the same linears and fuses no shared expert.
V3.2's indexer keeps `wk` in bf16 (fused with `weights_proj`) and its logits kernels are no
products: the first request compiles those.
"""

from __future__ import annotations

from warmup.kernels.products import Products

name = "deepseek"
classes = ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "DeepseekV32ForCausalLM")
model_types = ("deepseek_v2", "deepseek_v3", "deepseek_v32")

# Whose shared expert joins the routed ones by default, and with how many routed.
_FUSING = ("DeepseekV3ForCausalLM",)
_FUSED_ROUTED = (256, 384)


def derive(products: Products) -> None:
    derive_mla(products)
    derive_mlps(products, _FUSING)


def derive_mla(products: Products) -> None:
    """Latent attention, and where the config has one, the sparse attention's indexer."""
    config, layout = products.config, products.layout
    layers = range(config.get_size("num_hidden_layers"))
    hidden = config.get_size("hidden_size")
    total_heads = config.get_size("num_attention_heads")
    heads = products.divide(total_heads, layout.attention_tp, "num_attention_heads")
    nope, rope = config.get_size("qk_nope_head_dim"), config.get_size("qk_rope_head_dim")
    v, kv_lora = config.get_size("v_head_dim"), config.get_size("kv_lora_rank")
    q_lora = config.find_size("q_lora_rank")
    if q_lora is None:
        products.add_linear("self_attn.q_proj", heads * (nope + rope), hidden, layers)
        products.add_linear("self_attn.kv_a_proj_with_mqa", kv_lora + rope, hidden, layers)
    else:
        # Two modules of the checkpoint, one product of the engine.
        products.add_linear("self_attn.q_a_proj", q_lora + kv_lora + rope, hidden, layers)
        products.add_linear("self_attn.q_b_proj", heads * (nope + rope), q_lora, layers)
    products.add_linear("self_attn.kv_b_proj", heads * (nope + v), kv_lora, layers)
    products.add_linear("self_attn.o_proj", hidden, heads * v, layers)
    if q_lora is not None and config.find_size("index_topk") is not None:
        width = config.get_size("index_n_heads") * config.get_size("index_head_dim")
        products.add_linear("self_attn.indexer.wq_b", width, q_lora, layers, also_halved=True)
    if layout.absorbed_bmm:
        products.add_masked(kv_lora, nope, heads)
        products.add_masked(v, kv_lora, heads)


def derive_mlps(products: Products, fusing: tuple[str, ...]) -> None:
    """The first layers' dense MLPs, then routed and shared experts."""
    config, layout = products.config, products.layout
    num_layers, hidden = config.get_size("num_hidden_layers"), config.get_size("hidden_size")
    routed = config.get_count("n_routed_experts", 0)
    first = config.get_count("first_k_dense_replace", 0) if routed else num_layers
    step = config.get_size("moe_layer_freq", 1)
    sparse = [layer for layer in range(num_layers) if layer >= first and layer % step == 0]
    dense = sorted(set(range(num_layers)) - set(sparse))
    if dense:
        width = config.get_size("intermediate_size")
        products.add_mlp("mlp", hidden, width, layout.dense_tp, dense)
    if not sparse:
        return
    width, shared = config.get_size("moe_intermediate_size"), config.get_count("n_shared_experts")
    is_fused = layout.fuse_shared
    if is_fused is None:
        is_fused = layout.ep == 1 and shared == 1 and routed in _FUSED_ROUTED
        is_fused = is_fused and config.architectures[:1] == fusing
    products.add_experts(hidden, width, routed, shared if is_fused else 0)
    if shared and not is_fused:
        products.add_mlp("mlp.shared_experts", hidden, shared * width, layout.shared_tp, sparse)
