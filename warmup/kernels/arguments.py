"""From a launch's arguments and environment to the layout of its ranks.

Three kinds of argument: those modelled here, those that cannot change a product's shape, and all
others. One of the last makes the model fall back to its server, with the argument named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warmup.kernels.shapes import Kind, Layout, NotModelledError, divide
from warmup.launch.api import is_neutral, parse
from warmup.words.errors import UsageError

BOTH: tuple[Kind, ...] = ("CONTIG", "MASKED")


class LaunchArguments:
    """One launch's arguments, by canonical name (`launch/options.py`), the last one given winning.

    modelled: the names that a layout is made of. shapeless: further names, and prefixes that end
    in `*`, that change no weight's shape, no rank's part of it and not who multiplies by it.
    Raises NotModelledError naming the first argument that is neither.
    """

    def __init__(
        self,
        args: Sequence[str],
        engine: str,
        modelled: Sequence[str],
        shapeless: Sequence[str],
        who: str,
        env: Mapping[str, str],
    ) -> None:
        self.who, self.env = who, env
        self.values = {
            name: " ".join(values) for name, values in parse(args, engine).values.items()
        }
        prefixes = tuple(name[:-1] for name in shapeless if name.endswith("*"))
        for name in self.values:
            if name in modelled or name in shapeless or is_neutral(name, engine):
                continue
            if not name.startswith(prefixes):
                raise NotModelledError(f"{name} is not modelled: it might change the shapes")

    def get_size(self, name: str, default: int) -> int:
        text = self.values.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:8]) == int(text):
            raise UsageError(f"{self.who}: {name}: expected a whole number, found {text[:80]!r}")
        return int(text)

    def has(self, name: str) -> bool:
        return name in self.values

    def choose(self, name: str, default: str, known: Sequence[str]) -> str:
        """The argument's word. Raises NotModelledError for one that is not among `known`."""
        word = self.values.get(name, default)
        if word not in known:
            raise NotModelledError(f"{name} {word} is not modelled")
        return word

    def is_on(self, variable: str, default: bool) -> bool:
        """A boolean variable as sglang reads it (0.5.23, srt/environ.py, EnvBool)."""
        text = self.env.get(variable, "").lower()
        return default if not text else text in ("1", "true", "yes", "y")


_SGLANG_MODELLED = (
    "--tp-size", "--dp-size", "--enable-dp-attention", "--attn-dp-size", "--ep-size",
    "--moe-dense-tp-size", "--moe-a2a-backend", "--moe-runner-backend", "--deepep-mode",
    "--fp8-gemm-backend", "--disable-shared-experts-fusion", "--enforce-shared-experts-fusion",
    "--chunked-prefill-size", "--dtype", "--quantization",
)  # fmt: skip

# Beyond what compiles nothing at all (`launch/options.py`).
_SGLANG_SHAPELESS = (
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


def get_sglang_layout(who: str, tp: int, args: Sequence[str], env: Mapping[str, str]) -> Layout:
    """sglang's arguments (0.5.22 and 0.5.23: srt/arg_groups/fields/parallel.py and exec_.py).

    Who asks DeepGEMM: the linears, unless `--fp8-gemm-backend` says otherwise; the experts under
    `--moe-runner-backend deep_gemm` or a DeepEP-like `--moe-a2a-backend`. Under `auto` without one,
    these versions leave the experts to Triton (layers/quantization/fp8.py,
    is_deepgemm_moe_runner_backend_enabled), but others do not: their few kernels are derived too.
    Raises UsageError for sizes that cannot be, NotModelledError for what is not modelled.
    """
    arguments = LaunchArguments(args, "sglang", _SGLANG_MODELLED, _SGLANG_SHAPELESS, who, env)
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
    return Layout(
        tp=tp,
        attention_tp=divide(tp, _get_attention_dp(arguments), "tensor parallel size", who),
        experts_tp=divide(tp, ep, "tensor parallel size", who),
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


_VLLM_MODELLED = (
    "--tensor-parallel-size", "--enable-expert-parallel", "--max-num-batched-tokens", "--dtype",
    "--quantization",
)  # fmt: skip
_VLLM_SHAPELESS = (
    "--model", "--revision", "--tokenizer*", "--trust-remote-code", "--load-format",
    "--max-model-len", "--gpu-memory-utilization", "--kv-cache-dtype", "--block-size",
    "--max-num-seqs", "--enforce-eager", "--enable-prefix-caching", "--no-enable-prefix-caching",
    "--enable-chunked-prefill", "--disable-log-*", "--limit-mm-per-prompt",
    "--distributed-executor-backend", "--attention-backend",
)  # fmt: skip


def get_vllm_layout(who: str, tp: int, args: Sequence[str], env: Mapping[str, str]) -> Layout:
    """vLLM's arguments (0.33.0's names: tests/launch/options).

    Linears and experts both ask DeepGEMM where their shapes fit: experts in the contiguous form,
    and no shared expert is fused (model_executor/layers/fused_moe/deep_gemm_moe.py); expert
    parallelism spans the tensor parallel ranks. Experts of at most 512 columns a rank are Triton's
    in some versions: their few kernels are derived too. Data parallelism is not modelled. Raises
    UsageError for sizes that cannot be, NotModelledError for what is not modelled.
    """
    arguments = LaunchArguments(args, "vllm", _VLLM_MODELLED, _VLLM_SHAPELESS, who, env)
    for variable in ("VLLM_USE_DEEP_GEMM", "VLLM_MOE_USE_DEEP_GEMM"):
        if not arguments.is_on(variable, default=True):
            raise NotModelledError(f"{variable} switches DeepGEMM off")
    arguments.choose("--dtype", "auto", ("auto", "bfloat16"))
    arguments.choose("--quantization", "fp8", ("fp8",))
    tp = arguments.get_size("--tensor-parallel-size", tp)
    ep = tp if arguments.has("--enable-expert-parallel") else 1
    return Layout(
        tp=tp,
        attention_tp=tp,
        dense_tp=tp,
        shared_tp=tp,
        experts_tp=divide(tp, ep, "tensor parallel size", who),
        ep=ep,
        experts=("CONTIG",),
        fuse_shared=False,
        max_m=max(arguments.get_size("--max-num-batched-tokens", 16384), 16384),
    )
