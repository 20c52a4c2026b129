"""Run in a child under TRITON_INTERPRET=1: each fused module beside the library's own forward.

Prints one line per module kind, twice: as it is, and with spoiled kernels, which must be seen.
Exits 1 if any is off.
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

from tests.engine.kernels.check import LIMITS, get_error
from warmup.engine.kernels import fusions


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


def is_good(module: Any, inputs: tuple[Any, ...]) -> bool:
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    kwargs = {}
    if type(module).__name__ == "AdaLayerNormZero":  # as SD3's blocks call it
        inputs, kwargs = inputs[:1], {"emb": inputs[4]}
    with torch.no_grad():
        theirs = module(*inputs, **kwargs)
        counts = fusions.fuse(torch.nn.Sequential(module))
        ours = module(*inputs, **kwargs)
    if not isinstance(theirs, tuple):
        theirs, ours = (theirs,), (ours,)
    error = max(get_error(o, t) for o, t in zip(ours, theirs, strict=True))
    print(f"{type(module).__name__:28} {dict(counts)} {error:.1e}")
    return error <= LIMITS[torch.float32] and sum(counts.values()) == 1


def main() -> int:
    verdicts = [is_good(*each) for each in get_modules()]
    # And the check can fail: each kernel spoiled in turn.
    for name in ("rms_norm", "norm_modulate", "gated_activation", "silu_and_mul"):
        kernel = getattr(fusions, name)
        setattr(fusions, name, lambda *args, kernel=kernel: kernel(*args) * 1.01)
    spoiled = [is_good(*each) for each in get_modules()]
    return 0 if all(verdicts) and not any(spoiled) else 1


if __name__ == "__main__":
    sys.exit(main())
