"""vLLM's arguments (0.33.0's names: tests/launch/options).

Linears and experts both ask DeepGEMM where their shapes fit: experts in the contiguous form, and no
shared expert is fused (model_executor/layers/fused_moe/deep_gemm_moe.py); expert parallelism spans
the tensor parallel ranks. Experts of at most 512 columns a rank are Triton's in some versions:
their few kernels are derived too. Data parallelism is not modelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warmup.kernels.arguments import LaunchArguments, make_layout
from warmup.kernels.shapes.architecture import Layout, NotModelledError

MODELLED = (
    "--tensor-parallel-size", "--enable-expert-parallel", "--max-num-batched-tokens", "--dtype",
    "--quantization",
)  # fmt: skip
# Beyond what compiles nothing at all (`launch/options.py`).
SHAPELESS = (
    "--model", "--revision", "--tokenizer*", "--trust-remote-code", "--load-format",
    "--max-model-len", "--gpu-memory-utilization", "--kv-cache-dtype", "--block-size",
    "--max-num-seqs", "--enforce-eager", "--enable-prefix-caching", "--no-enable-prefix-caching",
    "--enable-chunked-prefill", "--disable-log-*", "--limit-mm-per-prompt",
    "--distributed-executor-backend", "--attention-backend",
)  # fmt: skip


def get_layout(who: str, tp: int, args: Sequence[str], env: Mapping[str, str]) -> Layout:
    """Raises UsageError for sizes that cannot be, NotModelledError for what is not modelled."""
    arguments = LaunchArguments(args, "vllm", MODELLED, SHAPELESS, who, env)
    for variable in ("VLLM_USE_DEEP_GEMM", "VLLM_MOE_USE_DEEP_GEMM"):
        if not arguments.is_on(variable, default=True):
            raise NotModelledError(f"{variable} switches DeepGEMM off")
    arguments.choose("--dtype", "auto", ("auto", "bfloat16"))
    arguments.choose("--quantization", "fp8", ("fp8",))
    tp = arguments.get_size("--tensor-parallel-size", tp)
    ep = tp if arguments.has("--enable-expert-parallel") else 1
    return make_layout(
        arguments,
        tp=tp,
        attention_dp=1,
        ep=ep,
        experts=("CONTIG",),
        fuse_shared=False,
        max_m=max(arguments.get_size("--max-num-batched-tokens", 16384), 16384),
    )
