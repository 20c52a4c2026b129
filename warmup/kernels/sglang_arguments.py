"""sglang's arguments (0.5.22 and 0.5.23: srt/arg_groups/fields/parallel.py and exec_.py).

Who asks DeepGEMM: the linears, unless `--fp8-gemm-backend` says otherwise; the experts under
`--moe-runner-backend deep_gemm` or a DeepEP-like `--moe-a2a-backend`. Under `auto` without one,
these versions leave the experts to Triton (layers/quantization/fp8.py,
is_deepgemm_moe_runner_backend_enabled), but others do not: their few kernels are derived too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warmup.kernels.arguments import BOTH, LaunchArguments, make_layout
from warmup.kernels.shapes.architecture import Kind, Layout, NotModelledError

MODELLED = (
    "--tp-size", "--dp-size", "--enable-dp-attention", "--attn-dp-size", "--ep-size",
    "--moe-dense-tp-size", "--moe-a2a-backend", "--moe-runner-backend", "--deepep-mode",
    "--fp8-gemm-backend", "--disable-shared-experts-fusion", "--enforce-shared-experts-fusion",
    "--chunked-prefill-size", "--dtype", "--quantization",
)  # fmt: skip

# Beyond what compiles nothing at all (`launch/options.py`).
SHAPELESS = (
    "--model-path", "--revision", "--trust-remote-code", "--tokenizer-*", "--sampling-*",
    "--grammar-backend", "--attention-backend", "--prefill-attention-backend",
    "--decode-attention-backend", "--mm-*", "--dsa-*", "--kv-cache-dtype", "--page-size",
    "--context-length", "--mem-fraction-static", "--max-running-requests", "--max-queued-requests",
    "--max-total-tokens", "--max-prefill-tokens", "--schedule-*", "--radix-eviction-policy",
    "--disable-radix-cache", "--disable-overlap-schedule", "--cuda-graph-*",
    "--disable-cuda-graph*", "--disable-decode-cuda-graph", "--disable-prefill-cuda-graph",
    "--disable-custom-all-reduce", "--disable-chunked-prefix-cache", "--load-format", "--dist-*",
    "--nccl-*", "--stream-interval", "--enable-dp-lm-head", "--enable-mixed-chunk",
    "--enable-multimodal", "--enable-p2p-check", "--limit-mm-data-per-request",
    "--swa-full-tokens-ratio", "--hicache-*", "--enable-hierarchical-cache", "--device",
    "--num-continuous-decode-steps",
)  # fmt: skip

_DEEPEP_LIKE = ("deepep", "mooncake", "nixl")
_FORMS: dict[str, tuple[Kind, ...]] = {
    "auto": BOTH,
    "normal": ("CONTIG",),
    "low_latency": ("MASKED",),
}


def get_layout(who: str, tp: int, args: Sequence[str], env: Mapping[str, str]) -> Layout:
    """Raises UsageError for sizes that cannot be, NotModelledError for what is not modelled."""
    arguments = LaunchArguments(args, "sglang", MODELLED, SHAPELESS, who, env)
    if not arguments.is_on("SGLANG_ENABLE_JIT_DEEPGEMM", default=True):
        raise NotModelledError("SGLANG_ENABLE_JIT_DEEPGEMM switches DeepGEMM off")
    arguments.choose("--fp8-gemm-backend", "auto", ("auto", "deep_gemm"))
    arguments.choose("--dtype", "auto", ("auto", "bfloat16"))
    arguments.choose("--quantization", "fp8", ("fp8",))
    a2a = arguments.choose("--moe-a2a-backend", "none", ("none", *_DEEPEP_LIKE))
    runner = arguments.choose("--moe-runner-backend", "auto", ("auto", "deep_gemm", "triton"))
    forms = _FORMS[arguments.choose("--deepep-mode", "auto", tuple(_FORMS))]
    is_dealt = a2a != "none"
    tp = arguments.get_size("--tp-size", tp)
    # These set the expert parallel size themselves (arg_groups/overrides.py, _a2a_ep_size).
    ep = tp if is_dealt else arguments.get_size("--ep-size", 1)
    is_alone = is_dealt or arguments.is_on("SGLANG_SHARED_EXPERT_TP1", default=False)
    return make_layout(
        arguments,
        tp=tp,
        attention_dp=_get_attention_dp(arguments),
        ep=ep,
        dense_tp=arguments.get_size("--moe-dense-tp-size", tp),
        shared_tp=1 if is_alone else tp,
        experts=() if runner == "triton" else forms if is_dealt else BOTH,
        fuse_shared=_find_fusion(arguments, is_dealt),
        absorbed_bmm=arguments.is_on("SGLANG_USE_DEEPGEMM_BMM", default=False),
        max_m=_get_max_m(arguments),
    )


def _get_attention_dp(arguments: LaunchArguments) -> int:
    """Plain `--dp` makes whole replicas; only DP attention changes what a rank multiplies."""
    if arguments.has("--attn-dp-size"):
        return arguments.get_size("--attn-dp-size", 1)
    has_dp_attention = arguments.has("--enable-dp-attention")
    return arguments.get_size("--dp-size", 1) if has_dp_attention else 1


def _find_fusion(arguments: LaunchArguments, is_dealt: bool) -> bool | None:
    if arguments.has("--disable-shared-experts-fusion"):
        return False
    if arguments.has("--enforce-shared-experts-fusion"):
        return True
    return False if is_dealt else None


def _get_max_m(arguments: LaunchArguments) -> int:
    """sglang 0.5.23, layers/deep_gemm_wrapper/compile_utils.py, update_deep_gemm_config."""
    text = arguments.values.get("--chunked-prefill-size", "")
    if text.startswith("-"):
        return 65536
    chunk = arguments.get_size("--chunked-prefill-size", 8192)
    return min(2 * chunk, 131072) if chunk > 8192 else 16384
