"""What is known of each engine's options: their spellings, and those that compile nothing."""

from __future__ import annotations

# Their parsers take `--served_model_name` too (vllm 0.33.0, utils/argparse_utils.py; sglang 0.5.23,
# multimodal_gen/utils.py: FlexibleArgumentParser).
UNDERSCORE_ENGINES = ("vllm", "sglang-diffusion")

# Engine → an option's name → its other spellings. sglang 0.5.23 (srt/arg_groups/fields/, where
# `--tp`, `--dp`, `--mem-frac` are unique abbreviations; multimodal_gen/runtime/server_args/) and
# vllm 0.33.0 (engine/arg_utils.py). tests/launch/options/ holds what these releases declare.
SPELLINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "sglang": {
        "--model-path": ("--model",),
        "--tp-size": ("--tp", "--tensor-parallel-size"),
        "--dp-size": ("--dp", "--data-parallel-size"),
        "--pp-size": ("--pipeline-parallel-size",),
        "--ep-size": ("--ep", "--expert-parallel-size"),
        "--attn-dp-size": ("--attention-data-parallel-size",),
        "--attn-cp-size": ("--attention-context-parallel-size",),
        "--moe-dp-size": ("--moe-data-parallel-size",),
        "--mem-fraction-static": ("--mem-frac",),
        "--dcp-size": ("--decode-context-parallel-size",),
        "--dist-init-addr": ("--nccl-init-addr",),
        "--enable-hierarchical-cache": ("--enable-hicache",),
        "--speculative-draft-model-path": ("--speculative-draft-model",),
        "--cuda-graph-prefill-max-context": ("--context-bucket",),
        "--hisparse-config": ("--hierarchical-sparse-attention-extra-config",),
    },
    "sglang-diffusion": {
        "--dp-size": ("--dp", "--data-parallel-size"),
        "--pipeline-class-name": ("--pipeline",),
        "--performance-mode": ("--mode",),
        "--layerwise-offload-components": ("--layerwise-offload-modules",),
    },
    "vllm": {
        "--tensor-parallel-size": ("-tp",),
        "--data-parallel-size": ("-dp",),
        "--data-parallel-size-local": ("-dpl",),
        "--data-parallel-rank": ("-dpn",),
        "--data-parallel-start-rank": ("-dpr",),
        "--data-parallel-address": ("-dpa",),
        "--data-parallel-rpc-port": ("-dpp",),
        "--data-parallel-backend": ("-dpb",),
        "--pipeline-parallel-size": ("-pp",),
        "--prefill-context-parallel-size": ("-pcp",),
        "--decode-context-parallel-size": ("-dcp",),
        "--enable-expert-parallel": ("-ep",),
        "--quantization": ("-q",),
        "--nnodes": ("-n",),
        "--node-rank": ("-r",),
        "--attention-config": ("-ac",),
        "--compilation-config": ("-cc",),
        "--speculative-config": ("-sc",),
    },
}
# Engine → options, by canonical name, and prefixes that end in `*`: where it listens, what it logs,
# how it formats text, how it reads weights. Whatever may choose a kernel or its shape is missing.
NEUTRAL: dict[str, tuple[str, ...]] = {
    "sglang": (
        "--host", "--port", "--grpc-port", "--nccl-port", "--dist-init-addr", "--dist-timeout",
        "--fastapi-root-path", "--api-key", "--admin-api-key", "--ssl-*", "--uvicorn-*", "--log-*",
        "--served-model-name", "--random-seed", "--base-gpu-id", "--gpu-id-step", "--numa-node",
        "--warmups", "--skip-server-warmup", "--watchdog-timeout", "--soft-watchdog-timeout",
        "--show-time-cost", "--decode-log-interval", "--crash-dump-folder", "--gc-*",
        "--enable-metrics*", "--enable-cache-report", "--enable-request-time-stats-logging",
        "--export-metrics-*", "--extra-metric-labels", "--enable-trace", "--trace-modules",
        "--otlp-*", "--tokenizer-metrics-*", "--bucket-*", "--prompt-tokens-buckets",
        "--generation-tokens-buckets", "--tokenizer-worker-num", "--detokenizer-worker-num",
        "--chat-template", "--hf-chat-template-name", "--completion-template",
        "--default-chat-template-kwargs", "--reasoning-parser", "--tool-call-parser",
        "--tool-server", "--sampling-defaults", "--preferred-sampling-params",
        "--stream-response-default-include-usage", "--file-storage-path", "--load-balance-method",
        "--allowed-media-domains", "--media-url-max-file-size-mb", "--mm-io-worker-num",
        "--download-dir", "--model-loader-extra-config", "--weight-loader-*", "--weight-version",
        "--model-checksum",
    ),
    "sglang-diffusion": (
        "--host", "--port", "--master-port", "--scheduler-port", "--strict-ports",
        "--dist-init-addr", "--dist-timeout", "--http-graceful-shutdown-timeout",
        "--served-model-name", "--log-*", "--uvicorn-*", "--enable-metrics",
        "--enable-cache-report", "--enable-trace", "--otlp-*", "--output-path", "--input-save-path",
        "--async-output-save", "--base-gpu-id", "--numa-node", "--scheduler-rpc-timeout",
    ),
    "vllm": (
        "--host", "--port", "--uds", "--grpc-port", "--root-path", "--api-key", "--ssl-*",
        "--master-addr", "--master-port", "--data-parallel-address", "--data-parallel-rpc-port",
        "--distributed-timeout-seconds", "--allow-credentials", "--allowed-origins",
        "--allowed-methods", "--allowed-headers", "--allowed-media-domains",
        "--allowed-local-media-path", "--middleware", "--h11-*", "--uvicorn-log-level",
        "--disable-uvicorn-access-log", "--disable-access-log-for-endpoints", "--log-*",
        "--max-log-len", "--disable-log-stats", "--enable-log-*", "--aggregate-engine-logging",
        "--enable-request-id-headers", "--enable-server-load-tracking", "--disable-fastapi-docs",
        "--enable-offline-docs", "--otlp-traces-endpoint", "--collect-detailed-traces",
        "--show-hidden-metrics-for-version", "--served-model-name", "--seed", "--response-role",
        "--chat-template", "--chat-template-content-format", "--default-chat-template-kwargs",
        "--trust-request-chat-template", "--reasoning-parser", "--reasoning-parser-plugin",
        "--enable-auto-tool-choice", "--tool-call-parser", "--tool-parser-plugin", "--tool-server",
        "--exclude-tools-when-tool-choice-none", "--hf-token", "--download-dir",
        "--ignore-patterns", "--model-loader-extra-config", "--use-tqdm-on-load",
        "--safetensors-*", "--shutdown-timeout",
    ),
    "transformers": (
        "--host", "--port", "--log-level", "--enable-cors", "--no-enable-cors", "--model-timeout",
        "--default-seed", "--chat-template-kwargs",
    ),
    "reference": (
        "--host", "--port", "--log-level", "--served-model-name", "--hold-timeout",
        "--request-timeout", "--seed", "--dist-timeout", "--input-save-path",
        "--allowed-media-root", "--allow-remote-media", "--no-allow-remote-media",
        "--readiness-compat", "--no-readiness-compat", "--warmup-deadline",
        "--warmup-fail-policy",
    ),
}  # fmt: skip

# Options of engines' own monitors → the first release that has them, as its wheels declare it. An
# older one refuses them, and what they ask for is told by our own proof as well.
MONITORS: dict[str, dict[str, tuple[int, int]]] = {
    "vllm": {
        "--jit-monitor-mode": (0, 25),
        "--jit-monitor-verbose": (0, 24),
        "--no-jit-monitor-verbose": (0, 24),
    }
}
