import json
import subprocess
import sys
from pathlib import Path

CODE = """
import json, sys, torch
from triton.backends.compiler import GPUTarget
from warmup.engine.kernels.launch import compile_only
from warmup.engine.kernels.fp8 import quantise_rows
from warmup.engine.kernels.gated import gated_activation
from warmup.engine.kernels.modulate import norm_modulate
from warmup.engine.kernels.rms_norm import rms_norm
from warmup.engine.kernels.rotary import rotate

def meta(*shape, dtype=torch.bfloat16):
    return torch.empty(*shape, dtype=dtype, device="meta")

with compile_only(GPUTarget("cuda", 90, 32)) as compiled:
    for rows in (1, 2, 16, 33):
        rms_norm(meta(rows, 3584), meta(3584), 1e-6)
        angles = meta(rows, 128, dtype=torch.float32)
        rotate(meta(rows, 28, 128), meta(rows, 4, 128), angles, angles)
        gated_activation(meta(rows, 2 * 1000), "silu", True)
        joint = meta(rows, 6 * 1536)
        norm_modulate(meta(rows, 5 * rows, 1536), joint[:, :1536], joint[:, 1536:3072], 1e-6)
        quantise_rows(meta(rows, 3584))
print(json.dumps({name: sorted(hashes) for name, hashes in compiled.hashes.items()}))
"""


def test_kernels_compile_for_an_h200_without_one_and_once_for_all_row_counts(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE],
        env={"TRITON_CACHE_DIR": str(tmp_path), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    compiled = json.loads(done.stdout)
    assert {name: len(hashes) for name, hashes in compiled.items()} == {
        "rms_norm_kernel": 1,
        "rotary_kernel": 1,
        "gated_activation_kernel": 1,
        "norm_modulate_kernel": 1,
        "quantise_rows_kernel": 1,
    }
    names = {path.name for path in tmp_path.rglob("*.cubin")}
    assert names == {f"{kernel}.cubin" for kernel in compiled}
