"""Version keys do not move unless a version does: names, order and variables, pinned as they were
before families, engines and prefixes were read from their own files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from warmup.state.relevant_env import get_relevant
from warmup.state.version_vector import Ingredient, VersionVector, read_vector

NAMES = [
    "python", "machine", "torch", "torch_cuda", "torch_git", "triton", "deep_gemm",
    "deep_gemm_include", "nvcc", "nvcc_path", "cuda_home", "driver", "gpu_name",
    "compute_capability", "sm_count", "flashinfer", "tilelang", "nvidia-cutlass-dsl",
    "quack-kernels", "apache-tvm-ffi", "engine:sglang", "source:warmup/state",
]  # fmt: skip
PREFIXES = [
    "DG_", "DJ_", "SGLANG_", "SGL_", "TRITON_", "TORCHINDUCTOR_", "TORCHDYNAMO_", "AOTINDUCTOR_",
    "TORCH_CUDA_ARCH_LIST", "TORCH_", "VLLM_", "FLASHINFER_", "TILELANG_", "CUTE_DSL_", "CUTE_",
    "QUACK_", "TVM_", "NVCC_", "CUDA_CACHE_", "CUDA_FORCE_", "CUDA_DISABLE_", "CUDAHOSTCXX", "CC",
    "CXX", "CFLAGS", "CXXFLAGS", "TORCHX_", "CUDA_", "CCX", "XCC", "LD_", "NCCL_",
    "TRANSFORMERS_", "HF_", "XLA_", "TL_", "CUDNN_", "DIFFUSERS_", "PYTORCH_",
]  # fmt: skip
TAILS = [
    "", "X", "CACHE_DIR", "X_CACHE_PATH", "HOME", "DUMP_DIR", "X_PORT", "LOGGING_LEVEL",
    "X_PRINT_Y", "API_KEY", "LOGS", "WORKSPACE_BASE", "EXTENSIONS_DIR", "CUBIN_DIR", "TMP_DIR",
    "CONFIG_ROOT", "ASSETS_CACHE", "RPC_BASE_PATH", "DUMP_LAUNCH_PARAMS", "TRACE", "JIT_DEBUG",
    "USAGE_X", "MAXSIZE", "NVCC_COMPILER",
]  # fmt: skip


def test_the_ingredients_are_these_in_this_order() -> None:
    vector = read_vector(
        python="",
        env={"PATH": os.environ["PATH"], "HOME": "/h"},
        engines=("sglang",),
        source_paths=("warmup/state",),
        repo_dir=Path(__file__).parent,
    )
    assert [each.name for each in vector.ingredients] == NAMES


def test_the_key_is_this() -> None:
    vector = VersionVector(tuple(Ingredient(name, f"value of {name}") for name in NAMES))
    assert vector.key == "442b125015e98e05"


def test_the_variables_that_count_are_these() -> None:
    names = {prefix + tail for prefix in PREFIXES for tail in TAILS}
    counted = sorted(get_relevant(dict.fromkeys(names, "1")))
    assert (len(names), len(counted)) == (935, 368)
    digest = hashlib.sha256("\n".join(counted).encode()).hexdigest()
    assert digest == "703b9aa9b079dcc608b1bd756a04228f4eb3e2a8d0f9ad92cd7808517cf7ea24"
