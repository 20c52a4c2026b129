from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from warmup.caches.family_table import get_family, get_variables
from warmup.words.errors import UsageError
from warmup.words.names import FAMILY_NAMES

HOME = "/home/u"


def get_roots(name: str, **env: str) -> list[str]:
    return [str(root) for root in get_family(name).get_roots({"HOME": HOME, "USER": "u", **env})]


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_family_says_all_of_itself(name: str) -> None:
    family = get_family(name)
    assert family.name == name
    assert family.variables and family.ingredients and family.env_names and family.repair
    assert family.get_roots({"HOME": HOME})


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_its_variables_move_all_of_its_defaults_under_one_folder(name: str) -> None:
    family = get_family(name)
    variables = family.get_variables(Path("/caches") / name)
    roots = [str(root) for root in family.get_roots({"HOME": HOME, **variables})]
    assert roots[0].startswith(f"/caches/{name}")
    # sglang-diffusion's own compile cache is redirected by the server only (gpu_worker.py).
    assert all(r.startswith("/caches/") or "sgl_diffusion" in r for r in roots)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_cache_root_has_one_folder_of_it(name: str) -> None:
    """A pack lays a family out in one folder: another store's entries would be pulled to where
    nobody looks, and the marker that comes of it would call them warm."""
    roots = get_family(name).get_roots({"HOME": HOME, **get_variables(Path("/caches"))})
    assert len([root for root in roots if root.is_relative_to("/caches")]) == 1


def test_one_folder_for_every_family_and_no_variable_twice() -> None:
    variables = get_variables(Path("/caches"))
    assert len(set(variables.values())) >= len(FAMILY_NAMES)
    assert all(value.startswith("/caches/") for value in variables.values())


def test_an_unknown_family_is_a_users_error() -> None:
    with pytest.raises(UsageError, match="cudnn"):
        get_family("cudnn")


def test_only_the_family_asked_for_is_imported() -> None:
    code = (
        "import sys; from warmup.caches.family_table import get_family; get_family('deep_gemm');"
        "print(sorted(m for m in sys.modules if m.startswith('warmup.caches.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == str(
        [
            "warmup.caches.families",
            "warmup.caches.families.deep_gemm",
            "warmup.caches.family",
            "warmup.caches.family_table",
        ]
    )


@pytest.mark.parametrize(
    ("name", "env", "root"),
    [
        ("deep_gemm", {}, f"{HOME}/.deep_gemm"),
        ("deep_gemm", {"DG_JIT_CACHE_DIR": "/a:/b"}, "/a"),
        ("deep_gemm", {"SGLANG_DG_CACHE_DIR": "/s", "DG_JIT_CACHE_DIR": "/d"}, "/s"),
        ("triton", {}, f"{HOME}/.triton/cache"),
        ("triton", {"TRITON_HOME": "/t"}, "/t/.triton/cache"),
        ("triton", {"TRITON_HOME": "/t", "TRITON_CACHE_DIR": "~/c"}, f"{HOME}/c"),
        ("inductor", {}, "/tmp/torchinductor_u"),
        ("inductor", {"TORCHINDUCTOR_CACHE_DIR": "/i"}, "/i"),
        ("flashinfer", {}, f"{HOME}/.cache/flashinfer"),
        ("flashinfer", {"FLASHINFER_WORKSPACE_BASE": "/f"}, "/f/.cache/flashinfer"),
        ("tilelang", {"TILELANG_CACHE_DIR": "/l"}, "/l"),
        ("tilelang", {}, f"{HOME}/.tilelang/cache"),
        ("cute_dsl", {}, "/tmp/u/cutlass_python_cache"),
        ("quack", {}, "/tmp/u/quack_cache"),
        ("tvm_ffi", {}, f"{HOME}/.cache/tvm-ffi"),
        ("torch_extensions", {}, f"{HOME}/.cache/torch_extensions"),
        ("torch_extensions", {"XDG_CACHE_HOME": "/x"}, "/x/torch_extensions"),
        ("vllm", {}, f"{HOME}/.cache/vllm/torch_compile_cache"),
        ("vllm", {"VLLM_CACHE_ROOT": "/v"}, "/v/torch_compile_cache"),
        ("cuda_driver", {}, f"{HOME}/.nv/ComputeCache"),
        ("cuda_driver", {"CUDA_CACHE_PATH": "/n"}, "/n"),
    ],
)
def test_the_strongest_variable_says_where(name: str, env: dict[str, str], root: str) -> None:
    assert get_roots(name, **env)[0] == root


def test_defaults_of_sglang_are_watched_until_a_variable_settles_it() -> None:
    assert f"{HOME}/.cache/sglang/triton" in get_roots("triton")
    assert f"{HOME}/.cache/sglang/deep_gemm" in get_roots("deep_gemm")
    assert "/s/inductor" in get_roots("inductor", SGLANG_CACHE_DIR="/s")
    assert get_roots("deep_gemm", DG_JIT_CACHE_DIR="/d") == ["/d"]
    assert get_roots("tvm_ffi", SGLANG_CACHE_DIR="/s")[1:] == [
        f"{HOME}/.cache/sglang/jit",
        "/s/jit",
    ]
    assert get_roots("tvm_ffi", SGLANG_CACHE_DIR="/s", SGLANG_JIT_CACHE_DIR="/j")[1:] == ["/j"]


@pytest.mark.parametrize(
    ("name", "path", "entry", "kernel"),
    [
        ("deep_gemm", "cache/kernel.gemm.0a/kernel.cu", "cache/kernel.gemm.0a", "gemm"),
        ("deep_gemm", "cache/fp8_gemm.0a/.committed", "cache/fp8_gemm.0a", "fp8_gemm"),
        ("deep_gemm", "tmp/1234/kernel.cu", None, ""),
        ("deep_gemm", "locks/x", None, ""),
        ("triton", "KEY/__grp__add.json", "KEY", "add"),
        ("triton", "KEY/cuda_utils.cpython-311-x86_64-linux-gnu.so", "KEY", "cuda_utils"),
        ("triton", "KEY/tmp.pid_7_aa/add.cubin", None, ""),
        ("triton", "KEY/add_kernel.autotune.json", "KEY", "tuning of add_kernel"),
        ("inductor", "triton/0/KEY/add_kernel.autotune.json", "triton/0/KEY",
         "tuning of add_kernel"),
        ("inductor", "ab/c0ffee.best_config", "ab/c0ffee.best_config", "tuning of c0ffee"),
        ("vllm", "h/inductor_cache/ab/c0ffee.best_config", "h/inductor_cache/ab/c0ffee.best_config",
         "tuning of c0ffee"),
        ("quack", "fp/gemm.autotune.json", "fp/gemm.autotune.json", "tuning of gemm"),
        ("inductor", "fxgraph/ab/fkey/entry", "fxgraph/ab/fkey", "fxgraph/ab/fkey"),
        ("inductor", "triton/0/KEY/__grp__add.json", "triton/0/KEY", "add"),
        ("inductor", "ab/cab.py", "ab/cab.py", "ab/cab.py"),
        ("inductor", "locks/model.lock", None, ""),
        ("flashinfer", "0.7.2/90a/cached_ops/prefill/prefill.so", "0.7.2/90a/cached_ops/prefill",
         "prefill"),
        ("flashinfer", "0.7.2/90a/cached_ops/prefill/.ninja_log", None, ""),
        ("flashinfer", "0.7.2/90a/flashinfer_jit.log", None, ""),
        ("flashinfer", "cubins/x/y.cubin", "cubins/x/y.cubin", "y.cubin"),
        ("tilelang", "0.1/linux/kernels/ab12/kernel_lib.so", "0.1/linux/kernels/ab12", "ab12"),
        ("tilelang", "0.1/linux/.staging/ab12_7_c/kernel_lib.so", None, ""),
        ("cute_dsl", "fp/0a.o", "fp/0a.o", "0a.o"),
        ("quack", "fp/0a.o", "fp/0a.o", "0a.o"),
        ("quack", "fp/0a.lock", None, ""),
        ("tvm_ffi", "mod_0a/mod.so", "mod_0a", "mod"),
        ("tvm_ffi", "sm_90/awq/build-k/deps-d/awq.so", "sm_90/awq/build-k/deps-d", "awq"),
        ("tvm_ffi", "sm_90/awq/build-k/.staging-7/awq.so", None, ""),
        ("torch_extensions", "py311_cu130/ext/ext.so", "py311_cu130/ext", "ext"),
        ("torch_extensions", "ext/ext.so", "ext", "ext"),
        ("torch_extensions", "ext/lock", None, ""),
        ("vllm", "h/rank_0_0/backbone/computation_graph.py", "h/rank_0_0/backbone",
         "h/rank_0_0/backbone"),
        ("vllm", "h/triton_cache/KEY/__grp__add.json", "h/triton_cache/KEY", "add"),
        ("vllm", "h/inductor_cache/fxgraph/ab/f/e", "h/inductor_cache/fxgraph/ab/f",
         "fxgraph/ab/f"),
        ("cuda_driver", "3/7/abcd", "3/7/abcd", "abcd"),
        ("cuda_driver", "index", None, ""),
    ],
)  # fmt: skip
def test_a_file_belongs_to_an_entry_with_a_kernels_name(
    name: str, path: str, entry: str | None, kernel: str
) -> None:
    family = get_family(name)
    assert family.find_entry(path) == entry
    if entry is not None:
        names = [os.path.relpath(path, entry)]
        assert family.get_kernel(Path("/nowhere"), entry, names) == kernel


@pytest.mark.parametrize(
    ("source", "kernel"),
    [
        ("import triton_helpers\ndef triton_poi_fused_add_0(x):\n", "triton_poi_fused_add_0"),
        ("def triton_tem_mm(x):\n", "triton_tem_mm"),
        ("cpp_fused_add_sin_0 = async_compile.cpp_pybinding(", "cpp_fused_add_sin_0"),
        ("x = 1\n", "ab/cab.py"),
    ],
)
def test_an_inductor_source_is_called_after_its_kernel(
    tmp_path: Path, source: str, kernel: str
) -> None:
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "cab.py").write_text(source)
    assert get_family("inductor").get_kernel(tmp_path, "ab/cab.py", [""]) == kernel


def test_a_tilelang_kernel_is_called_after_its_function(tmp_path: Path) -> None:
    source = 'extern "C" __global__ void __launch_bounds__(128, 1) mhc_main(float* a) {'
    (tmp_path / "device_kernel.cu").write_text(source)
    kernel = get_family("tilelang").get_kernel(tmp_path.parent, tmp_path.name, ["device_kernel.cu"])
    assert kernel == "mhc_main"
