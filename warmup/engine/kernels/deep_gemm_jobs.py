"""Let DeepGEMM compile for a shape: the handler of a compile worker (`start`).

Run by its path in the server's environment, where warmup-ci may be missing: it imports torch and
deep_gemm, and nothing of ours. Tensors are laid out as sglang 0.5.23's are
(srt/layers/quantization/fp8_utils.py, moe/moe_runner/deep_gemm.py): activation scales column by
column and aligned for TMA, so that the kernels which only transpose scales are compiled by jobs of
their own (TRANSPOSE) alone.

Never run where this was written: no GPU. See benchmarks/results/README.md.
"""

from __future__ import annotations

import importlib
import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch

_BLOCK = 128
_ROWS = 128  # of each masked group: DeepGEMM selects by the rows expected, not by these
_FATAL = 70
# Function names, newest first (sgl-deep-gemm 0.1.0 to 0.2.5).
_NAMES = {
    "NORMAL": ("fp8_gemm_nt",),
    "CONTIG": ("m_grouped_fp8_gemm_nt_contiguous", "m_grouped_fp8_fp4_gemm_nt_contiguous"),
    "MASKED": ("fp8_m_grouped_gemm_nt_masked", "m_grouped_fp8_gemm_nt_masked"),
}


def start(args: list[str]) -> Callable[[dict[str, Any]], Any]:
    """args: the device's index among those visible. Raises where there is none, or no deep_gemm."""
    if not torch.cuda.is_available():
        raise RuntimeError("torch finds no usable GPU")
    import deep_gemm  # noqa: F401

    torch.cuda.set_device(int(args[0]))

    def handle(payload: dict[str, Any]) -> Any:
        if payload["op"] == "probe":
            return probe(payload["engine"])
        # Read when the first kernel is built, not when deep_gemm is imported.
        for variable in ("DG_JIT_CACHE_DIR", "DJ_JIT_CACHE_DIR"):
            os.environ[variable] = payload["cache_dir"]
        work = ask_shape if payload["op"] == "ask" else compile_shape
        try:
            return work(**payload["shape"], num_sms=payload["num_sms"], ms=payload["ms"])
        except RuntimeError as error:
            if "CUDA" in str(error):
                # The context is lost: whatever this process did next would fail too.
                print(f"{payload['shape']}: {error}", file=sys.stderr, flush=True)
                os._exit(_FATAL)
            raise

    return handle


def probe(engine: str) -> dict[str, Any]:
    """The devices, what decides which kernels DeepGEMM compiles here, and where `engine` looks."""
    import deep_gemm

    devices = []
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        devices.append(
            {
                "name": found.name,
                "capability": found.major * 10 + found.minor,
                "num_sms": found.multi_processor_count,
                "free_bytes": free,
                "total_bytes": total,
            }
        )
    return {
        "devices": devices,
        "version": getattr(deep_gemm, "__version__", "unknown"),
        "package": os.path.dirname(os.path.abspath(deep_gemm.__file__)),  # noqa: PTH100, PTH120
        "compiled_dims": {kind: _get_compiled_dims(kind) for kind in _NAMES},
        "cache_dir": _find_cache_dir(engine),
        "nvcc": _ask_nvcc(),
    }


def _ask_nvcc() -> str | None:
    """What the nvcc that DeepGEMM runs says of its version, or why it does not; None for NVRTC.

    Found as sgl-deep-gemm 0.1.5.post1 does (deep_gemm/cuda_helpers.py, csrc/jit/compiler.hpp).
    """
    if os.environ.get("DG_JIT_USE_NVRTC") == "1":
        return None
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    found = shutil.which("nvcc") if not home else None
    home = home or (os.path.dirname(os.path.dirname(found)) if found else "/usr/local/cuda")  # noqa: PTH120
    nvcc = os.environ.get("DG_JIT_NVCC_COMPILER") or f"{home}/bin/nvcc"
    try:
        done = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{nvcc}: {error}"
    return done.stdout


def _find_cache_dir(engine: str) -> str | None:
    """The engine's own default, which differs by version; None where a variable tells anyway."""
    try:
        if engine == "sglang":
            envs = importlib.import_module("sglang.srt.environ").envs
            return str(envs.SGLANG_DG_CACHE_DIR.get())
        if "DG_JIT_CACHE_DIR" in os.environ:
            return None
        return f"{importlib.import_module('vllm.envs').VLLM_CACHE_ROOT}/deep_gemm"
    except (ImportError, AttributeError):
        return None


def compile_shape(kind: str, n: int, k: int, groups: int, num_sms: int, ms: list[int]) -> int:
    """Call the product for each of `ms` on `num_sms` SMs; how many calls. What the cache holds is
    not compiled again."""
    import deep_gemm

    deep_gemm.set_num_sms(num_sms)
    call = _make_call(kind, n, k, groups, max(ms))
    for m in ms:
        call(m)
    torch.cuda.synchronize()
    return len(ms)


def ask_shape(
    kind: str, n: int, k: int, groups: int, num_sms: int, ms: list[int]
) -> list[tuple[int, list[str]]]:
    """The same, and which of `ms` added which entries to the cache, which nobody else may use."""
    import deep_gemm

    folder = os.path.join(os.environ["DG_JIT_CACHE_DIR"], "cache")  # noqa: PTH118
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    deep_gemm.set_num_sms(num_sms)
    call = _make_call(kind, n, k, groups, max(ms))
    seen, added = set(os.listdir(folder)), []  # noqa: PTH208
    for m in ms:
        call(m)
        new = set(os.listdir(folder)) - seen  # noqa: PTH208
        if new:
            seen |= new
            added.append((m, sorted(new)))
    torch.cuda.synchronize()
    return added


def _make_call(kind: str, n: int, k: int, groups: int, max_m: int) -> Callable[[int], Any]:
    if kind == "TRANSPOSE":
        layout = importlib.import_module("deep_gemm.utils.layout")
        scales = torch.ones(max_m, k // _BLOCK, device="cuda")
        return lambda m: layout.get_mn_major_tma_aligned_tensor(scales[:m])
    function = _get_function(kind)
    if kind == "MASKED":
        rows, scales = _make_rows(k, _ROWS, groups)
        weight = _make_weight(n, k, groups)
        out = torch.empty(groups, _ROWS, n, device="cuda", dtype=torch.bfloat16)
        counts = torch.zeros(groups, device="cuda", dtype=torch.int32)
        return lambda m: function((rows, scales), weight, out, counts, m)
    rows, scales = _make_rows(k, max_m)
    out = torch.empty(max_m, n, device="cuda", dtype=torch.bfloat16)
    if kind == "NORMAL":
        weight = _make_weight(n, k)
        return lambda m: function((rows[:m], _make_scales(m, k)), weight, out[:m])
    weight = _make_weight(n, k, groups)
    whose = torch.zeros(max_m, device="cuda", dtype=torch.int32)
    return lambda m: function((rows[:m], _make_scales(m, k)), weight, out[:m], whose[:m])


def _make_rows(k: int, m: int, *groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows = torch.zeros(*groups, m, k, device="cuda", dtype=torch.bfloat16)
    return rows.to(torch.float8_e4m3fn), _make_scales(m, k, *groups)


def _make_scales(m: int, k: int, *groups: int) -> torch.Tensor:
    """(groups, m, k/128) in float32, M the fastest, each column starting at a multiple of 4."""
    aligned = -(-m // 4) * 4
    scales = torch.ones(*groups, k // _BLOCK, aligned, device="cuda")
    return scales.transpose(-1, -2)[..., :m, :]


def _make_weight(n: int, k: int, *groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    values = torch.empty(*groups, n, k, device="cuda", dtype=torch.float8_e4m3fn)
    return values, torch.ones(*groups, -(-n // _BLOCK), k // _BLOCK, device="cuda")


def _get_function(kind: str) -> Callable[..., None]:
    import deep_gemm

    for name in _NAMES[kind]:
        found: Callable[..., None] | None = getattr(deep_gemm, name, None)
        if found is not None:
            return found
    raise AttributeError(f"this deep_gemm has none of {', '.join(_NAMES[kind])}")


def _get_compiled_dims(kind: str) -> str | None:
    """Which of N and K the kernel is compiled for: an argument's default; None if it hides it."""
    try:
        found = inspect.signature(_get_function(kind)).parameters.get("compiled_dims")
    except (ValueError, AttributeError):
        return None
    return found.default if found is not None and isinstance(found.default, str) else None
