"""The models whose shapes are known: the products of one rank, layer by layer.

A new one is a function `derive_…` and a row of the table at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from warmup.kernels.config import Config
from warmup.kernels.products import Products
from warmup.kernels.shapes import NotModelledError

# Whose shared expert joins the routed ones by default, and with how many routed.
_FUSING = ("DeepseekV3ForCausalLM",)
_FUSED_ROUTED = (256, 384)


def derive_deepseek(products: Products) -> None:
    """DeepSeek V2, V3 and V3.2: multi-head latent attention, dense layers first, then experts.

    Facts: sglang 0.5.22 and 0.5.23, srt/models/deepseek_v2.py (DeepseekV2AttentionMLA,
    DeepseekV2MoE, shared_experts_fusion_disable_reason) and layers/attention/dsa/dsa_indexer.py;
    MLA's absorbed products are DeepGEMM's only under SGLANG_USE_DEEPGEMM_BMM
    (models/deepseek_common/deepseek_weight_loader.py). vLLM 0.33.0 builds the same linears and
    fuses no shared expert.
    V3.2's indexer keeps `wk` in bf16 (fused with `weights_proj`) and its logits kernels are not
    products: the first request compiles those.
    """
    _add_mla(products)
    _add_mlps(products, _FUSING)


def derive_glm5(products: Products) -> None:
    """GLM-5: DeepSeek's latent and sparse attention with sizes of its own.

    Facts: sglang 0.5.22 and 0.5.23, srt/models/glm4_moe.py (GlmMoeDsaForCausalLM is a
    DeepseekV2ForCausalLM); transformers 5.23, models/glm_moe_dsa.
    """
    _add_mla(products)
    _add_mlps(products, ("GlmMoeDsaForCausalLM",))


def _add_mla(products: Products) -> None:
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


def _add_mlps(products: Products, fusing: tuple[str, ...]) -> None:
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


def derive_mimo(products: Products) -> None:
    """MiMo-V2-Flash and V2.5: full and sliding-window attention by layer, experts in most layers.

    Facts: sglang 0.5.22 and 0.5.23, srt/models/mimo_v2.py (MiMoV2DecoderLayer, MiMoV2Attention,
    MiMoV2MoE). Query and value heads differ in width; no shared experts. The checkpoints keep
    `o_proj` in bf16 (`ignored_layers`).
    """
    config, layout = products.config, products.layout
    num_layers, hidden = config.get_size("num_hidden_layers"), config.get_size("hidden_size")
    pattern = _get_pattern(config, "hybrid_layer_pattern", num_layers)
    sparse = _get_pattern(config, "moe_layer_freq", num_layers)
    head_dim = config.get_size("head_dim")
    v_head_dim = config.get_size("v_head_dim", head_dim)
    full = [layer for layer in range(num_layers) if pattern[layer] != 1]
    sliding = [layer for layer in range(num_layers) if pattern[layer] == 1]
    if full:
        heads = config.get_size("num_attention_heads")
        kv_heads = config.get_size("num_key_value_heads")
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
        width = config.get_size("moe_intermediate_size")
        routed = config.get_size("n_routed_experts")
        products.add_experts(hidden, width, routed, 0)


def _get_pattern(config: Config, key: str, num_layers: int) -> list[Any]:
    found = config.find_list(key)
    if found is None or len(found) < num_layers:
        raise NotModelledError(f"{key} does not name every layer's kind")
    return found


def derive_qwen3(products: Products) -> None:
    """Qwen3 dense, FP8: grouped-query attention and a gated MLP in every layer.

    Facts: sglang 0.5.22 and 0.5.23, srt/models/qwen3.py and qwen2.py (Qwen2MLP).
    """
    config = products.config
    layers, hidden = range(config.get_size("num_hidden_layers")), config.get_size("hidden_size")
    _add_qwen3_attention(products)
    width = config.get_size("intermediate_size")
    products.add_mlp("mlp", hidden, width, products.layout.dense_tp, layers)


def derive_qwen3_moe(products: Products) -> None:
    """Qwen3-MoE, FP8: Qwen3's attention, experts in all layers but those that the config names.

    Facts: sglang 0.5.22 and 0.5.23, srt/models/qwen3_moe.py (Qwen3MoeDecoderLayer,
    Qwen3MoeSparseMoeBlock). No shared experts; an expert's size alone decides, as every layer has
    the same.
    """
    config, layout = products.config, products.layout
    num_layers, hidden = config.get_size("num_hidden_layers"), config.get_size("hidden_size")
    _add_qwen3_attention(products)
    step = config.get_size("decoder_sparse_step", 1)
    bare = config.find_list("mlp_only_layers") or []
    dense = [layer for layer in range(num_layers) if layer in bare or (layer + 1) % step]
    if dense:
        width = config.get_size("intermediate_size")
        products.add_mlp("mlp", hidden, width, layout.dense_tp, dense)
    if len(dense) < num_layers:
        width, routed = config.get_size("moe_intermediate_size"), config.get_size("num_experts")
        products.add_experts(hidden, width, routed, 0)


def _add_qwen3_attention(products: Products) -> None:
    config = products.config
    heads, hidden = config.get_size("num_attention_heads"), config.get_size("hidden_size")
    head_dim = config.get_size("head_dim", max(hidden // heads, 1))
    layers = range(config.get_size("num_hidden_layers"))
    kv_heads = config.get_size("num_key_value_heads", heads)
    products.add_attention(heads, kv_heads, head_dim, head_dim, layers)


class KnownModel(NamedTuple):
    """classes: `architectures` of config.json; model_types: `model_type`, for a config that names
    none. derive: adds every product of one rank; raises UsageError for a config that is wrong,
    NotModelledError for one that is not known."""

    name: str
    classes: tuple[str, ...]
    model_types: tuple[str, ...]
    derive: Callable[[Products], None]


_KNOWN = (
    KnownModel(
        "deepseek",
        ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM", "DeepseekV32ForCausalLM"),
        ("deepseek_v2", "deepseek_v3", "deepseek_v32"),
        derive_deepseek,
    ),
    KnownModel("glm5", ("GlmMoeDsaForCausalLM",), ("glm_moe_dsa",), derive_glm5),
    KnownModel(
        "mimo",
        ("MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM"),
        ("mimo_v2_flash", "mimo_v2"),
        derive_mimo,
    ),
    KnownModel("qwen3_moe", ("Qwen3MoeForCausalLM",), ("qwen3_moe",), derive_qwen3_moe),
    KnownModel("qwen3", ("Qwen3ForCausalLM",), ("qwen3",), derive_qwen3),
)


def get_model(config: Config) -> KnownModel:
    """By `architectures`, and by `model_type` where the config names none.

    Raises NotModelledError for one that is not known.
    """
    for known in _KNOWN:
        if any(name in known.classes for name in config.architectures):
            return known
        if not config.architectures and config.model_type in known.model_types:
            return known
    told = ", ".join(config.architectures) or config.model_type or "none named"
    names = ", ".join(known.name for known in _KNOWN)
    raise NotModelledError(f"unknown architecture ({told})", hint=f"known are {names}")
