"""Run in a child under TRITON_INTERPRET=1: each fused module beside the library's own forward.

Prints one line per module kind; exits 1 if any is off. `argv[1]`: spoil one kernel, to see this
check fail.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import torch
from diffusers.models import activations, normalization
from diffusers.models.transformers import transformer_flux2
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl
from transformers.models.qwen2_vl import modeling_qwen2_vl

from warmup.engine.kernels import fusions
from warmup.engine.kernels.check import LIMITS, get_error


def get_modules() -> Iterator[tuple[Any, tuple[torch.Tensor, ...]]]:
    x, emb = torch.randn(2, 5, 32), torch.randn(2, 32)
    yield modeling_qwen2_5_vl.Qwen2_5_VLRMSNorm(32, eps=1e-6), (x,)
    yield modeling_qwen2_vl.Qwen2VLRMSNorm(32, eps=1e-6), (x,)
    yield normalization.RMSNorm(32, eps=1e-6), (x,)
    yield normalization.AdaLayerNormZero(32), (x, None, None, None, emb)
    yield normalization.AdaLayerNormZeroSingle(32), (x, emb)
    yield normalization.AdaLayerNormContinuous(32, 32, elementwise_affine=False, eps=1e-6), (x, emb)
    yield activations.GEGLU(32, 48), (x,)
    yield activations.SwiGLU(32, 48), (x,)
    yield transformer_flux2.Flux2SwiGLU(), (x,)


def main() -> int:
    if len(sys.argv) > 1:
        fusions.gated_activation = lambda x, *_: x  # type: ignore[attr-defined]
    is_good = True
    for module, inputs in get_modules():
        for weight in module.parameters():
            torch.nn.init.normal_(weight, std=0.5)
        names = ("x", "timestep", "class_labels", "hidden_dtype", "emb")
        zero = type(module).__name__ == "AdaLayerNormZero"
        kwargs = {names[4]: inputs[4]} if zero else {}
        inputs = inputs[:1] if zero else inputs
        with torch.no_grad():
            theirs = module(*inputs, **kwargs)
            counts = fusions.fuse(torch.nn.Sequential(module))
            ours = module(*inputs, **kwargs)
        if not isinstance(theirs, tuple):
            theirs, ours = (theirs,), (ours,)
        error = max(get_error(o, t) for o, t in zip(ours, theirs, strict=True))
        is_good &= error <= LIMITS[torch.float32] and sum(counts.values()) == 1
        print(f"{type(module).__name__:28} {dict(counts)} {error:.1e}")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
