from __future__ import annotations

from pathlib import Path

import pytest

from warmup.caches.family_table import get_family, get_variables
from warmup.state.relevant_env import find_touched, get_relevant, is_relevant
from warmup.words.locations import is_location
from warmup.words.names import FAMILY_NAMES


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("DG_JIT_USE_NVRTC", "deep_gemm"),
        ("SGLANG_ENABLE_JIT_DEEPGEMM", "deep_gemm"),
        ("TRITON_PTXAS_PATH", "triton"),
        ("TORCHINDUCTOR_MAX_AUTOTUNE", "inductor"),
        ("TORCH_CUDA_ARCH_LIST", "flashinfer"),
        ("VLLM_USE_DEEP_GEMM", "vllm"),
        ("FLASHINFER_CUDA_ARCH_LIST", "flashinfer"),
        ("TILELANG_TARGET", "tilelang"),
        ("CUTE_DSL_ARCH", "cute_dsl"),
        ("QUACK_X", "quack"),
        ("TVM_FFI_CUDA_ARCH_LIST", "tvm_ffi"),
        ("NVCC_APPEND_FLAGS", "deep_gemm"),
        ("CUDA_CACHE_MAXSIZE", "cuda_driver"),
        ("CXX", "inductor"),
        ("SGLANG_CLIP_MAX_NEW_TOKENS", "triton"),
    ],
)
def test_what_can_invalidate(name: str, family: str) -> None:
    assert family in find_touched(f"env:{name}")


@pytest.mark.parametrize(
    "name",
    [
        "HOME", "PATH", "CUDA_VISIBLE_DEVICES", "GITHUB_RUN_ID", "HF_HOME", "OMP_NUM_THREADS",
        "SGLANG_PORT", "VLLM_HOST_IP", "VLLM_LOGGING_LEVEL", "TORCH_LOGS", "TORCH_NCCL_BLOCKING",
        "DG_JIT_PRINT_COMPILER_COMMAND", "DG_JIT_DEBUG", "VLLM_API_KEY", "SGLANG_AUTH_TOKEN",
        "TRITON_HOME", "TORCH_HOME",
    ],
)  # fmt: skip
def test_what_cannot(name: str) -> None:
    assert not is_relevant(name)


def test_where_caches_lie_is_no_ingredient() -> None:
    for name in get_variables(Path("/cache")):
        assert is_location(name) or not is_relevant(name), name
    for family in FAMILY_NAMES:
        for name in get_family(family).variables:
            assert is_location(name) or not is_relevant(name), name


def test_the_relevant_ones_are_sorted() -> None:
    env = {"TRITON_B": "2", "HOME": "/h", "DG_A": "1", "TRITON_CACHE_DIR": "/x"}
    assert list(get_relevant(env).items()) == [("DG_A", "1"), ("TRITON_B", "2")]
