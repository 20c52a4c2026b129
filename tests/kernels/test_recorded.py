from __future__ import annotations

import json
from pathlib import Path

import pytest

from warmup.kernels.check import read_kernel
from warmup.kernels.m_values import choose_kernels
from warmup.kernels.selection import Kernel
from warmup.kernels.shapes import Ask, Shape

RECORD = Path(__file__).parents[2] / "benchmarks" / "results" / "kernels_gpu.json"
# As upstream prints it (csrc/jit_kernels/impls/sm90_fp8_gemm_1d2d.hpp).
SOURCE = """// Includes' hash value: bbe54f542d8c44bd2bdd4a6b0636f306

#include <deep_gemm/impls/sm90_fp8_gemm_1d2d.cuh>

using namespace deep_gemm;

static void __instantiate_kernel() {
    auto ptr = reinterpret_cast<void*>(&sm90_fp8_gemm_1d2d_impl<
        cute::UMMA::Major::K,
        0, 512, 7168,
        257,
        128, 96, 128,
        128, 128, 64,
        7,
        128, 256,
        2, true,
        132, GemmType::MGroupedContiguous,
        cutlass::bfloat16_t,
        epilogue::transform::EpilogueIdentity
    >);
};
"""


def test_a_source_is_read_back() -> None:
    assert read_kernel(SOURCE) == Kernel("CONTIG", 512, 7168, 257, 128, 96, 7, 2, True, 132)


def test_another_kernels_source_is_none_of_ours() -> None:
    assert read_kernel("&smxx_clean_logits<128, 256>)") is None


@pytest.mark.skipif(
    not RECORD.exists(), reason="benchmarks/kernels_gpu.py was not run on a GPU yet"
)
def test_what_a_gpu_compiled_is_what_was_foretold() -> None:
    document = json.loads(RECORD.read_text())
    device = document["device"]
    for model in document["models"]:
        asks = {Ask(Shape(**shape)): model["max_m"] for shape in model["shapes"]}
        dims, version = device["compiled_dims"], device["version"]
        foretold = choose_kernels(asks, device["num_sms"], dims, version)
        foretold = {k: call for k, call in foretold.items() if k.kind != "TRANSPOSE"}
        compiled = {read_kernel(source) for source in model["kernels"]} - {None}
        assert set(foretold) == compiled, model["model"]
