from __future__ import annotations

from pathlib import Path

from warmup.caches.compile_lines import drop_loads, find_compile_lines, get_log_variables
from warmup.caches.walk import take_snapshot
from warmup.words.names import FAMILY_NAMES

LOG = (
    b"INFO: Loading weights\n"
    b"Running NVCC command: cd /x && /usr/local/cuda/bin/nvcc kernel.cu -cubin\n"
    b"Running command: cd /x && /usr/bin/nvcc k.cu --cubin --output-file k.cubin\n"
    b"Running command: which nvcc\n"
    b"2026-11-21 - INFO - TileLang begins to compile kernel `mhc_prenorm` with `out_idx=None`\n"
    b"2026-11-21 - INFO - TileLang completes to compile kernel `mhc_prenorm`\n"
    b"x - INFO - cute_dsl_core.py:177 - flashinfer.jit: Compiling CuTe-DSL kernel nvfp4_k4096\n"
    b"Building extension module rasterizer...\n"
    b"\xff\xfe not a line of ours\n"
)


def test_compile_lines_are_found_with_family_and_kernel(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LOG)
    found = find_compile_lines(tmp_path / "log", FAMILY_NAMES)
    assert [(line.family, line.kernel) for line in found] == [
        ("deep_gemm", ""),
        ("deep_gemm", ""),
        ("tilelang", "mhc_prenorm"),
        ("flashinfer", "nvfp4_k4096"),
        ("torch_extensions", "rasterizer"),
    ]
    assert found[0].text.startswith("Running NVCC command: cd /x")


def test_only_what_comes_after_the_offset_counts(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LOG)
    offset = len(LOG)
    with (tmp_path / "log").open("ab") as file:
        file.write(b"Running NVCC command: last, without a newline")
    (line,) = find_compile_lines(tmp_path / "log", FAMILY_NAMES, offset)
    assert line.text == "Running NVCC command: last, without a newline"


def test_only_the_families_asked_for_count(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LOG)
    assert find_compile_lines(tmp_path / "log", ["triton", "inductor"]) == []


def test_lines_across_chunks_and_endless_ones_are_found(tmp_path: Path) -> None:
    line = b"Running NVCC command: x\n"
    (tmp_path / "log").write_bytes(b"a" * ((1 << 20) - 10) + b"\n" + line + b"b" * (3 << 20) + line)
    assert len(find_compile_lines(tmp_path / "log", ["deep_gemm"])) == 2


def test_the_variables_that_make_servers_say_so() -> None:
    variables = get_log_variables(FAMILY_NAMES)
    assert variables["DG_JIT_PRINT_COMPILER_COMMAND"] == "1"
    assert variables["TILELANG_PRINT_ON_COMPILATION"] == "1"


# As vllm 0.33.0 writes them (utils/jit_monitor.py; the third is of later releases), flashinfer
# 0.7.2 (jit/core.py) and sglang 0.5.23 (kernels/jit/utils/compile/ninja.py).
MONITORS = (
    b"(EngineCore pid=7) WARNING 11-24 [jit_monitor.py:140] Triton kernel JIT compilation during "
    b"inference: _topk_topp_kernel. This causes a latency spike; consider extending warmup\n"
    b"RuntimeError: Triton kernel JIT compilation during inference: fused_moe_kernel (key=[])."
    b" This causes a latency spike\n"
    b"WARNING CuTeDSL JIT compilation during inference: FlashAttentionForwardSm90. This causes\n"
    b"WARNING TileLang JIT compilation during inference: mhc_pre_tilelang. This causes\n"
    b"INFO Kernel JIT monitor activated; monitored JIT compilations during inference will use\n"
    b"flashinfer.jit: Building JIT module batch_prefill_bf16; this can take several minutes\n"
    b"flashinfer.jit: Generated BGMV MoE JIT spec: bgmv\n"
    b"JIT resource usage for sgl_norm_bf16:\n"
    b"RuntimeError: JIT module 'awq_marlin' has no usable cached build under /c, and SGLANG_CRASH\n"
    b"MissingJITCacheError: JIT compilation is disabled via FLASHINFER_DISABLE_JIT environment\n"
)


def test_the_lines_of_engines_monitors(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(MONITORS)
    found = find_compile_lines(tmp_path / "log", FAMILY_NAMES)
    assert [(line.family, line.kernel, line.may_be_load) for line in found] == [
        ("triton", "_topk_topp_kernel", True),
        ("triton", "fused_moe_kernel", True),
        ("cute_dsl", "FlashAttentionForwardSm90", False),
        ("tilelang", "mhc_pre_tilelang", True),
        ("flashinfer", "batch_prefill_bf16", False),
        ("tvm_ffi", "sgl_norm_bf16", False),
        ("tvm_ffi", "awq_marlin", False),
        ("flashinfer", "", False),
    ]


def test_a_monitor_that_speaks_of_loads_is_believed_of_kernels_that_were_not_there(
    tmp_path: Path,
) -> None:
    """Triton calls vLLM's hook behind a load from disk, too: a warm boot would never be proven."""
    entry = tmp_path / "triton" / "HASH"
    entry.mkdir(parents=True)
    (entry / "_topk_topp_kernel.cubin").write_bytes(b"x")
    env = {"TRITON_CACHE_DIR": str(tmp_path / "triton"), "HOME": str(tmp_path)}
    (tmp_path / "log").write_bytes(MONITORS)
    before = take_snapshot(["triton", "tilelang"], env)
    left = drop_loads(find_compile_lines(tmp_path / "log", ["triton", "cute_dsl"]), before)
    assert [line.kernel for line in left] == ["fused_moe_kernel", "FlashAttentionForwardSm90"]
