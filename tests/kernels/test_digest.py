"""Expected values were printed by upstream's own C++, compiled: csrc/utils/hash.hpp and
csrc/jit/include_parser.hpp of DeepGEMM a348cd9, deep_jit's of sgl-deep-gemm 0.2.5."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernels.entries import CODE, make_package
from warmup.kernels.digest import CsrcKeys, JitKeys, get_csrc_digest, get_jit_digest


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        ("", "ddd805b8cbc69b1ee220a8397b1dcdaf"),
        ("abc", "6cb682c2bda63e59351d88a9dce78d10"),
        (
            "sm90_fp8_gemm_1d2d$$NVCC13.0$$-std=c++20$$// ×\n",
            "f225cbcb36d8f389ce97bc96e33341f1",
        ),
    ],
)
def test_csrc_digest(data: str, digest: str) -> None:
    assert get_csrc_digest(data.encode()) == digest


def test_deep_jit_digest_keeps_parts_apart() -> None:
    assert get_jit_digest(b"") == "601991819c51b6b40cce57df1139bba4"
    assert get_jit_digest(b"abc") == "d38cb16bf40d72b8c7f98d40271fe40a"
    assert get_jit_digest(b"a", b"", b"bc") == "e1669b9d027dd600806fb09b21d7bbad"


def test_hashes_of_included_headers(tmp_path: Path) -> None:
    include = make_package(tmp_path)
    assert CsrcKeys(include, "13.0").get_include_hash(CODE) == "8cbc1c5889463d6b55518c69702cc8d9"
    keys = JitKeys(include, ["deep_gemm"])
    assert keys.get_code_hash(CODE) == "caa0c6400e8633bcd0cc1e3f464089fa"
    digest = keys.get_digest("sig", "nvcc 13.0\n", ["-O3", "--x"], CODE)
    assert digest == "c576cc845cdf47c756179a5136c32f42"


def test_a_header_that_changes_changes_both_keys(tmp_path: Path) -> None:
    include = make_package(tmp_path)
    before = CsrcKeys(include, "13.0").get_include_hash(CODE)
    jit = JitKeys(include, ["deep_gemm"]).get_code_hash(CODE)
    (include / "deep_gemm" / "sub" / "b.cuh").write_text("long b;\n")
    assert CsrcKeys(include, "13.0").get_include_hash(CODE) != before
    assert JitKeys(include, ["deep_gemm"]).get_code_hash(CODE) != jit
