"""Collects one rank's products while an architecture walks its layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from warmup.kernels.config import Config, Quantisation
from warmup.kernels.shapes import (
    BLOCK,
    N_MULTIPLE,
    Layout,
    NotModelledError,
    Shape,
    divide,
)

# Modules that the checkpoint holds apart and the engines as one (sglang 0.5.23,
# layers/quantization/utils.py, _FALLBACK_FUSED_SHARDS).
_FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


class Products:
    """shapes: without repetitions, in the order of the layers; halved: those of them that also run
    on half of the SMs. name: of the model, for errors."""

    def __init__(self, config: Config, layout: Layout, name: str) -> None:
        self.config = config
        self.layout = layout
        self.name = name
        self.shapes: dict[Shape, None] = {}
        self.halved: dict[Shape, None] = {}
        self._quantisation: Quantisation = config.get_quantisation()

    def divide(self, value: int, by: int, what: str) -> int:
        return divide(value, by, what, self.name)

    def add_linear(
        self, module: str, n: int, k: int, layers: Iterable[int], *, also_halved: bool = False
    ) -> None:
        """A linear of these layers, if any is quantised and fits; else it is not DeepGEMM's.

        module: dotted path below the layer, for example `self_attn.o_proj`.
        """
        if n % N_MULTIPLE == 0 and k % BLOCK == 0 and self._is_quantised(module, layers):
            self.shapes[Shape("NORMAL", n, k)] = None
            if also_halved:
                self.halved[Shape("NORMAL", n, k)] = None

    def add_mlp(
        self, module: str, hidden: int, intermediate: int, tp: int, layers: Sequence[int]
    ) -> None:
        """A gated MLP whose intermediate size is shared by `tp` ranks."""
        per_rank = self.divide(intermediate, tp, "intermediate size")
        self.add_linear(f"{module}.gate_up_proj", 2 * per_rank, hidden, layers)
        self.add_linear(f"{module}.down_proj", hidden, per_rank, layers)

    def add_attention(
        self, heads: int, kv_heads: int, head_dim: int, v_head_dim: int, layers: Sequence[int]
    ) -> None:
        """Grouped-query attention: one fused projection in, one out.

        With fewer KV heads than ranks, each rank holds one of them (sglang 0.5.23,
        layers/linear.py, QKVParallelLinear).
        """
        tp, hidden = self.layout.attention_tp, self.config.get_size("hidden_size")
        local = self.divide(heads, tp, "num_attention_heads")
        if kv_heads >= tp:
            local_kv = self.divide(kv_heads, tp, "num_key_value_heads")
        else:
            self.divide(tp, kv_heads, "attention parallel size")
            local_kv = 1
        qkv = (local + local_kv) * head_dim + local_kv * v_head_dim
        self.add_linear("self_attn.qkv_proj", qkv, hidden, layers)
        self.add_linear("self_attn.o_proj", hidden, local * v_head_dim, layers)

    def add_experts(self, hidden: int, intermediate: int, routed: int, shared: int) -> None:
        """Routed experts, with `shared` more fused in; in each form that this launch uses."""
        tp = self.layout.experts_tp
        groups = self.divide(routed, self.layout.ep, "number of experts") + shared
        per_rank = self.divide(intermediate, tp, "moe_intermediate_size")
        if per_rank % BLOCK and self.layout.experts:
            # sglang 0.5.23, layers/quantization/fp8.py, create_fp8_moe_weight_, refuses it too.
            raise NotModelledError(
                f"an expert's part of the intermediate size is not a multiple of {BLOCK}",
                cause=f"{intermediate} over {tp} ranks is {per_rank}",
                hint="give an expert parallel size",
            )
        for n, k in ((2 * per_rank, hidden), (hidden, per_rank)):
            for kind in self.layout.experts:
                self.shapes[Shape(kind, n, k, groups)] = None

    def add_masked(self, n: int, k: int, groups: int) -> None:
        self.shapes[Shape("MASKED", n, k, groups)] = None

    def add_transposes(self) -> None:
        """One for each K: sglang's own warm-up gives row-major scales (0.5.23, layers/
        deep_gemm_wrapper/compile_utils.py, _empty_token_fp8), and so do its masked experts. The
        kernel is compiled for K/128 alone (DeepGEMM, csrc/jit_kernels/impls/smxx_layout.hpp)."""
        for k in sorted({shape.k for shape in self.shapes}):
            self.shapes[Shape("TRANSPOSE", 1, k)] = None

    def _is_quantised(self, module: str, layers: Iterable[int]) -> bool:
        head, _, last = module.rpartition(".")
        names = [f"{head}.{part}" for part in _FUSED.get(last, (last,))]
        return any(
            not self._quantisation.is_ignored(f"model.layers.{layer}.{name}")
            for layer in layers
            for name in names
        )
