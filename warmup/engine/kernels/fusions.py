"""Which modules of diffusers and transformers our kernels stand in for, and how.

Modules keep their class, their parameters and their names; only the `forward` of an instance is
replaced, by one that computes the same with fewer passes over memory. What a class computes is
known by its name, so each entry names the library whose class it follows.
"""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from warmup.engine.kernels.gated import gated_activation, silu_and_mul
from warmup.engine.kernels.norms import norm_modulate, rms_norm


@dataclass(frozen=True)
class Fusion:
    """kernel: its name in /model_info. applies: whether this instance computes just that.

    example: meta tensors that `forward` takes, of the widths that the instance (in its parent)
    will see; a batch of two, since kernels do not depend on it. Used to compile without a GPU.
    """

    kernel: str
    forward: Callable[..., Any]
    applies: Callable[[Any], bool]
    example: Callable[[Any, Any, torch.dtype], tuple[torch.Tensor, ...]]


def _norm_forward(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    # As both libraries do, the weight decides the dtype of the result.
    return rms_norm(hidden_states.to(self.weight.dtype), self.weight, _get_eps(self))


def _get_eps(norm: Any) -> Any:
    return norm.variance_epsilon if hasattr(norm, "variance_epsilon") else norm.eps


def _has_only_a_weight(norm: Any) -> bool:
    if norm.weight is None or getattr(norm, "bias", None) is not None:
        return False
    return norm.weight.dim() == 1 and _get_eps(norm) is not None


def _zero_forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    """AdaLayerNormZero and -Single: the first two chunks modulate, the others are for later."""
    emb = kwargs.get("emb", args[0] if args else None)
    shift, scale, *rest = self.linear(self.silu(emb)).chunk(
        self.linear.out_features // x.shape[-1], dim=1
    )
    return (_modulate(x, scale, shift, self.norm), *rest)


def _continuous_forward(self: Any, x: torch.Tensor, conditioning_embedding: Any) -> Any:
    scale, shift = self.linear(self.silu(conditioning_embedding).to(x.dtype)).chunk(2, dim=1)
    return _modulate(x, scale, shift, self.norm)


def _modulate(x: torch.Tensor, scale: Any, shift: Any, norm: Any) -> torch.Tensor:
    batch = x.shape[0]
    return norm_modulate(x, scale.expand(batch, -1), shift.expand(batch, -1), norm.eps)


def _is_bare_layer_norm(ada: Any) -> bool:
    norm = ada.norm
    is_layer_norm = type(norm).__name__ == "LayerNorm"
    return is_layer_norm and norm.weight is None and getattr(ada, "emb", None) is None


def _geglu_forward(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    return gated_activation(self.proj(hidden_states), "gelu", False)


def _swiglu_forward(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    return gated_activation(self.proj(hidden_states), "silu", False)


def _silu_and_mul_forward(_self: Any, x: torch.Tensor) -> torch.Tensor:
    return silu_and_mul(x)


def _meta(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def _example_norm(norm: Any, _parent: Any, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    return (_meta(dtype, 2, norm.weight.shape[0]),)


def _example_ada(ada: Any, _parent: Any, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    width = ada.norm.normalized_shape[0]
    return _meta(dtype, 2, 3, width), _meta(dtype, 2, ada.linear.in_features)


def _example_glu(glu: Any, _parent: Any, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    return (_meta(dtype, 2, glu.proj.in_features),)


def _example_flux2(_glu: Any, parent: Any, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """It has no weights; its two parents, feed-forward and parallel attention, know the width."""
    if hasattr(parent, "linear_in"):
        return (_meta(dtype, 2, parent.linear_in.out_features),)
    return (_meta(dtype, 2, parent.mlp_hidden_dim * parent.mlp_mult_factor),)


def _always(_module: Any) -> bool:
    return True


_RMS_NORM = Fusion("rms_norm", _norm_forward, _has_only_a_weight, _example_norm)
_ADA_ZERO = Fusion("norm_modulate", _zero_forward, _is_bare_layer_norm, _example_ada)
_ADA_CONTINUOUS = Fusion("norm_modulate", _continuous_forward, _is_bare_layer_norm, _example_ada)
FUSIONS = {
    # transformers 5.23, models/qwen2_vl and models/qwen2_5_vl
    "Qwen2RMSNorm": _RMS_NORM,
    "Qwen2VLRMSNorm": _RMS_NORM,
    "Qwen2_5_VLRMSNorm": _RMS_NORM,
    # diffusers 0.42, models/normalization.py, activations.py, transformers/transformer_flux2.py
    "RMSNorm": _RMS_NORM,
    "AdaLayerNormZero": _ADA_ZERO,
    "AdaLayerNormZeroSingle": _ADA_ZERO,
    "AdaLayerNormContinuous": _ADA_CONTINUOUS,
    "GEGLU": Fusion("gated_activation", _geglu_forward, _always, _example_glu),
    "SwiGLU": Fusion("gated_activation", _swiglu_forward, _always, _example_glu),
    "Flux2SwiGLU": Fusion("gated_activation", _silu_and_mul_forward, _always, _example_flux2),
}


def find_fusions(model: torch.nn.Module) -> Iterator[tuple[Fusion, Any, Any]]:
    """Every module that one of our kernels can compute, as (fusion, module, its parent)."""
    for parent in model.modules():
        for module in parent.children():
            fusion = FUSIONS.get(type(module).__name__)
            if fusion is not None and fusion.applies(module):
                yield fusion, module, parent


def fuse(model: torch.nn.Module) -> Counter[str]:
    """Replace the `forward` of each; kernel name → how many modules."""
    found = {module: fusion for fusion, module, _ in find_fusions(model)}
    for module, fusion in found.items():
        module.forward = types.MethodType(fusion.forward, module)
    return Counter(fusion.kernel for fusion in found.values())
