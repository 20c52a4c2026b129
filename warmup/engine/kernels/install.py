"""Our kernels in place of a model's own arithmetic, on a GPU only. Needs no Triton on a CPU."""

from __future__ import annotations

import torch

from warmup.engine.args import ServerArgs
from warmup.words.errors import HostError


def install(model: torch.nn.Module, args: ServerArgs) -> dict[str, int]:
    """Replace what our kernels compute faster; kernel name → how many modules, for /model_info.

    On a CPU nothing is replaced. Raises HostError for `--fp8` where it cannot be.
    """
    device = next(model.parameters()).device
    if device.type != "cuda":
        if args.fp8:
            raise HostError("--fp8 needs an SM90 GPU (H100, H200)", hint="drop --fp8")
        return {}
    from warmup.engine.kernels import fp8, fusions

    counts = dict(fusions.fuse(model))
    if args.fp8:
        counts["deep_gemm_fp8"] = fp8.convert_linears(model, fp8.get_gemm(device))
    return counts
