from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.kernels.models import V3, both, derive_from, get_shapes, normal
from warmup.kernels.m_values import choose_kernels
from warmup.kernels.shapes import Shape
from warmup.words.errors import UsageError


def test_deepseek_v3_over_eight_ranks(tmp_path: Path) -> None:
    """Heads, dense MLPs and an expert's intermediate size are shared; the latent parts are not."""
    assert get_shapes(derive_from(tmp_path, V3, 8)) == (
        normal(
            (1536 + 512 + 64, 7168),  # fused_qkv_a_proj_with_mqa
            (16 * 192, 1536),  # q_b_proj
            (16 * 256, 512),  # kv_b_proj
            (7168, 16 * 128),  # o_proj
            (2 * 18432 // 8, 7168),
            (7168, 18432 // 8),
        )
        | both(2 * 2048 // 8, 7168, 257)
        | both(7168, 2048 // 8, 257)
    )


def test_dp_attention_makes_attention_whole_and_leaves_the_rest(tmp_path: Path) -> None:
    plain = get_shapes(derive_from(tmp_path, V3, 8))
    spread = get_shapes(derive_from(tmp_path, V3, 8, "--dp", "8", "--enable-dp-attention"))
    attention = normal((16 * 192, 1536), (16 * 256, 512), (7168, 16 * 128))
    whole = normal((128 * 192, 1536), (128 * 256, 512), (7168, 128 * 128))
    assert spread == (plain - attention) | whole


@pytest.mark.parametrize(
    "args",
    [
        ("--dp", "4", "--enable-dp-attention"),
        ("--enable-dp-attention", "--data-parallel-size=4"),
        ("--attn-dp-size", "4"),
    ],
)
def test_partial_dp_attention(tmp_path: Path, args: tuple[str, ...]) -> None:
    assert ("NORMAL", 64 * 192, 1536, 1) in get_shapes(derive_from(tmp_path, V3, 8, *args))


def test_replicas_change_nothing(tmp_path: Path) -> None:
    plain = derive_from(tmp_path, V3, 8)
    assert derive_from(tmp_path, V3, 8, "--dp", "2").shapes == plain.shapes


def test_expert_parallel_keeps_the_intermediate_size_and_deals_the_experts(tmp_path: Path) -> None:
    shapes = get_shapes(derive_from(tmp_path, V3, 8, "--ep-size", "8"))
    assert {s for s in shapes if s[0] != "NORMAL"} == both(4096, 7168, 32) | both(7168, 2048, 32)
    # Fusing a shared expert is for one rank's experts alone: here it is a product of its own.
    assert normal((2 * 2048 // 8, 7168), (7168, 2048 // 8)) <= shapes


def test_deepep_deals_experts_to_all_ranks_and_keeps_shared_ones_whole(tmp_path: Path) -> None:
    model = derive_from(
        tmp_path, V3, 8, "--moe-a2a-backend", "deepep", "--deepep-mode", "low_latency"
    )
    shapes = get_shapes(model)
    assert {s for s in shapes if s[0] != "NORMAL"} == {
        ("MASKED", 4096, 7168, 32),
        ("MASKED", 7168, 2048, 32),
    }
    assert normal((2 * 2048, 7168), (7168, 2048)) <= shapes


def test_experts_that_triton_multiplies_are_not_deep_gemms(tmp_path: Path) -> None:
    model = derive_from(tmp_path, V3, 8, "--moe-runner-backend", "triton")
    assert get_shapes(model, "CONTIG", "MASKED") == set()


def test_absorbed_products_only_where_they_are_switched_on(tmp_path: Path) -> None:
    model = derive_from(tmp_path, V3, 8, env={"SGLANG_USE_DEEPGEMM_BMM": "1"})
    assert {("MASKED", 512, 128, 16), ("MASKED", 128, 512, 16)} <= get_shapes(model)


def test_deepseek_v32_adds_an_indexer_and_fuses_no_shared_expert(tmp_path: Path) -> None:
    shapes = get_shapes(derive_from(tmp_path, "deepseek-v3.2", 8))
    assert normal((64 * 128, 1536), (512, 7168), (7168, 256)) <= shapes
    assert ("CONTIG", 512, 7168, 256) in shapes
    assert derive_from(tmp_path, "deepseek-v3.2", 8).halved == (Shape("NORMAL", 8192, 1536),)


def test_deepseek_v2_without_query_compression(tmp_path: Path) -> None:
    """V2-Lite's sizes."""
    model = derive_from(
        tmp_path, V3, 1, architectures=["DeepseekV2ForCausalLM"], q_lora_rank=None,
        hidden_size=2048, num_attention_heads=16, n_routed_experts=64, n_shared_experts=2,
        moe_intermediate_size=1408, intermediate_size=10944, first_k_dense_replace=1,
    )  # fmt: skip
    shapes = get_shapes(model)
    assert normal((16 * 192, 2048), (512 + 64, 2048), (2 * 2816, 2048), (2048, 2816)) <= shapes
    assert both(2816, 2048, 64) | both(2048, 1408, 64) <= shapes
    # 10944 is no multiple of 128: the dense down_proj is not DeepGEMM's.
    assert all(k != 10944 for _, _, k, _ in shapes)


def test_glm5(tmp_path: Path) -> None:
    model = derive_from(tmp_path, "glm-5-fp8", 8, "--dp", "8", "--enable-dp-attention")
    assert get_shapes(model) == (
        normal(
            (2048 + 512 + 64, 6144), (64 * 256, 2048), (64 * 448, 512), (6144, 64 * 256),
            (32 * 128, 2048), (2 * 12288 // 8, 6144), (6144, 12288 // 8),
        )
        | both(512, 6144, 257)
        | both(6144, 256, 257)
    )  # fmt: skip


def test_mimo_has_two_kinds_of_attention_and_keeps_o_proj(tmp_path: Path) -> None:
    args = ("--dp", "2", "--enable-dp-attention", "--attention-backend", "fa3")
    model = derive_from(tmp_path, "mimo-v2-flash", 8, *args)
    assert get_shapes(model) == (
        normal((16 * 192 + 192 + 128, 4096), (16 * 192 + 2 * (192 + 128), 4096))
        | normal((2 * 16384 // 8, 4096), (4096, 16384 // 8))
        | both(512, 4096, 256)
        | both(4096, 256, 256)
    )
    quantised = derive_from(
        tmp_path, "mimo-v2-flash", 8, *args,
        quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]},
    )  # fmt: skip
    assert ("NORMAL", 4096, 16 * 128, 1) in get_shapes(quantised)


def test_a_multimodal_config_keeps_its_sizes_in_text_config(tmp_path: Path) -> None:
    from tests.kernels.models import get_config

    flat = derive_from(tmp_path / "a", "mimo-v2-flash", 8)
    inner = get_config("mimo-v2-flash")
    nested = derive_from(
        tmp_path / "b", "mimo-v2-flash", 8, hidden_size=None, num_attention_heads=None,
        architectures=["MiMoV2ForCausalLM"], text_config=inner,
    )  # fmt: skip
    assert nested.shapes == flat.shapes


def test_qwen3_moe_on_one_rank(tmp_path: Path) -> None:
    model = derive_from(tmp_path, "qwen3-30b-a3b-fp8", 1)
    assert get_shapes(model) == (
        normal(((32 + 8) * 128, 2048), (2048, 4096)) | both(1536, 2048, 128) | both(2048, 768, 128)
    )


def test_qwen3_moe_with_dense_layers(tmp_path: Path) -> None:
    model = derive_from(tmp_path, "qwen3-30b-a3b-fp8", 1, mlp_only_layers=[0])
    assert normal((2 * 6144, 2048), (2048, 6144)) <= get_shapes(model)


def test_qwen3_dense_with_fewer_kv_heads_than_ranks(tmp_path: Path) -> None:
    model = derive_from(tmp_path, "qwen3-8b-fp8", 16)
    assert get_shapes(model) == normal(
        ((2 + 2) * 128, 4096), (4096, 256), (2 * 768, 4096), (4096, 768)
    )


def test_vllm_deals_experts_contiguously_and_fuses_none(tmp_path: Path) -> None:
    model = derive_from(tmp_path, V3, 8, "--enable-expert-parallel", engine="vllm")
    assert get_shapes(model, "CONTIG", "MASKED") == {
        ("CONTIG", 4096, 7168, 32),
        ("CONTIG", 7168, 2048, 32),
    }


def test_scales_are_transposed_once_for_each_k(tmp_path: Path) -> None:
    """Real sglang 0.5.23 asked for these three (Qwen3-30B-A3B-FP8); vLLM was not looked at."""
    shapes = derive_from(tmp_path, "qwen3-30b-a3b-fp8", 1).shapes
    assert [shape.k for shape in shapes if shape.kind == "TRANSPOSE"] == [768, 2048, 4096]
    plain = derive_from(tmp_path, "qwen3-30b-a3b-fp8", 1, "--moe-runner-backend", "triton").shapes
    assert [shape.k for shape in plain if shape.kind == "TRANSPOSE"] == [2048, 4096]
    other = derive_from(tmp_path, "qwen3-30b-a3b-fp8", 1, engine="vllm").shapes
    assert all(shape.kind != "TRANSPOSE" for shape in other)


@pytest.mark.parametrize(
    ("name", "tp", "version", "products", "transposes"),
    [
        ("qwen3-30b-a3b-fp8", 1, "0.2.3.post2", 60, 3),
        ("deepseek-v3", 8, "0.2.3.post2", 70, 6),
        ("deepseek-v3", 8, "0.1.5.post1", 64, 6),
    ],
)
def test_as_many_kernels_as_the_library_was_seen_to_take(
    tmp_path: Path, name: str, tp: int, version: str, products: int, transposes: int
) -> None:
    """Recorded on a null device: sglang 0.5.23 asked sgl-deep-gemm 0.2.3.post2 for 63 kernels of
    Qwen3-30B-A3B-FP8; of DeepSeek-V3 over eight ranks the library took 70, where 64 were named."""
    kernels = choose_kernels(derive_from(tmp_path, name, tp).asks, 132, {}, version)
    kinds = [kernel.kind for kernel in kernels]
    assert (len(kinds) - kinds.count("TRANSPOSE"), kinds.count("TRANSPOSE")) == (
        products, transposes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("args", "max_m"), [((), 16384), (("16384",), 32768), (("-1",), 65536), (("4096",), 16384)]
)
def test_the_largest_batch_follows_the_chunk(
    tmp_path: Path, args: tuple[str, ...], max_m: int
) -> None:
    flags = ("--chunked-prefill-size", *args) if args else ()
    assert derive_from(tmp_path, V3, 8, *flags).max_m == max_m


@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("--speculative-algorithm", "EAGLE"), "--speculative-algorithm"),
        (("--moe-runner-backend", "cutlass"), "--moe-runner-backend cutlass"),
        (("--fp8-gemm-backend=triton",), "--fp8-gemm-backend triton"),
        (
            ("--attention-backend", "fa3", "--enable-two-batch-overlap"),
            "--enable-two-batch-overlap",
        ),
        (("--pp-size", "2"), "--pp-size"),
        (("--no-such-flag",), "--no-such-flag"),
    ],
)
def test_an_argument_that_is_not_modelled_is_named(
    tmp_path: Path, args: tuple[str, ...], named: str
) -> None:
    model = derive_from(tmp_path, V3, 8, *args)
    assert (model.strategy, model.shapes) == ("server", ())
    assert named in model.reason


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "unknown architecture (LlamaForCausalLM)"),
        ({"architectures": None, "model_type": None}, "unknown architecture (none named)"),
        ({"quantization_config": None}, "not quantised"),
        ({"quantization_config": {"quant_method": "awq"}}, "not FP8"),
        (
            {"quantization_config": {"quant_method": "fp8", "weight_block_size": None}},
            "not FP8",
        ),
        ({"env": {"SGLANG_ENABLE_JIT_DEEPGEMM": "0"}}, "switches DeepGEMM off"),
    ],
)
def test_what_is_not_known_falls_back_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    model = derive_from(tmp_path, V3, 8, **changes)
    assert model.strategy == "server"
    assert told in model.reason


def test_another_engine_falls_back(tmp_path: Path) -> None:
    assert "engine command" in derive_from(tmp_path, V3, 8, engine="command").reason


def test_an_experts_part_of_no_whole_blocks_falls_back(tmp_path: Path) -> None:
    model = derive_from(tmp_path, "qwen3-30b-a3b-fp8", 4)
    assert model.strategy == "server"
    assert "768 over 4 ranks is 192" in model.reason


@pytest.mark.parametrize(
    ("tp", "args", "changes", "told"),
    [
        (3, (), {}, "num_attention_heads 128 does not divide by 3"),
        (16, (), {"intermediate_size": 18440}, "intermediate size 18440 does not divide by 16"),
        (16, (), {"moe_intermediate_size": 2056}, "2056 does not divide by 16"),
        (8, ("--ep", "3"), {}, "tensor parallel size 8 does not divide by 3"),
        (8, ("--dp", "3", "--enable-dp-attention"), {}, "8 does not divide by 3"),
        (8, ("--ep", "eight"), {}, "--ep-size: expected a whole number, found 'eight'"),
        (8, ("--ep", "0"), {}, "--ep-size: expected a whole number"),
        (8, (), {"num_attention_heads": "128"}, "num_attention_heads: expected a whole number"),
        (8, (), {"num_attention_heads": 0}, "num_attention_heads: expected a whole number"),
        (8, (), {"hidden_size": True}, "hidden_size: expected a whole number"),
        (8, (), {"hidden_size": 7168.0}, "hidden_size: expected a whole number"),
        (8, (), {"hidden_size": -1}, "hidden_size: expected a whole number"),
        (8, (), {"hidden_size": 1 << 40}, "hidden_size: expected a whole number"),
        (8, (), {"kv_lora_rank": None}, "kv_lora_rank: expected a whole number"),
        (8, (), {"architectures": "DeepseekV3ForCausalLM"}, "architectures: expected a list"),
        (8, (), {"quantization_config": "fp8"}, "quantization_config: expected an object"),
    ],
)
def test_a_wrong_config_or_size_is_an_error_that_names_it(
    tmp_path: Path, tp: int, args: tuple[str, ...], changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError) as caught:
        derive_from(tmp_path, V3, tp, *args, **changes)
    assert told in caught.value.render()
