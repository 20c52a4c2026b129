"""Engine `vllm`: `vllm serve` (facts: vllm 0.32.0 and 0.33.0, entrypoints/cli/, v1/engine/core.py).

EngineCore and the workers are processes of their own, which live on when the leader is killed. A
model with an odd head size is healthy until its first request, of which it dies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from warmup.launch.adapter import (
    HOST,
    PORT_TAKEN,
    Adapter,
    find_text_model_problem,
)
from warmup.launch.answers import find_completion_fault
from warmup.launch.arguments import parse
from warmup.launch.engine import Allocation
from warmup.launch.launch import Launch, RequestSpec
from warmup.launch.requests import can_show_image, make_chat_request, make_completion_request
from warmup.words.errors import WarmupError

# `--limit-mm-per-prompt {"image": 0}`, and the older `image=0`.
_NO_IMAGES = re.compile(r'image"?\s*[:=]\s*0\b')


class VllmEngine(Adapter):
    """Internal ports are its own choice (or VLLM_PORT's)."""

    name = "vllm"
    distribution = "vllm"
    families = (
        "vllm",
        "deep_gemm",
        "triton",
        "inductor",
        "flashinfer",
        "tilelang",
        "cute_dsl",
        "quack",
        "tvm_ffi",
        "torch_extensions",
        "cuda_driver",
    )
    crash_patterns = (
        "EngineCore failed to start",
        "EngineCore encountered a fatal error",
        "Engine core initialization failed",
        "WorkerProc failed to start",
        PORT_TAKEN,
    )

    def find_engine_problem(self, launch: Launch) -> WarmupError | None:
        # params.json is Mistral's own format (vllm 0.33.0, transformers_utils/config.py).
        return find_text_model_problem(launch, ("config.json", "params.json"))

    def make_argv(self, launch: Launch, allocation: Allocation) -> list[str]:
        # `python -m`, as the console script may belong to another interpreter.
        argv = [launch.python, "-m", "vllm.entrypoints.cli.main", "serve"]
        argv += [launch.model_argument, "--host", HOST, "--port", str(allocation.port)]
        argv += ["--tensor-parallel-size", str(launch.tp)]
        if launch.revision and launch.folder is None:
            argv += ["--revision", launch.revision]
        if launch.weights == "dummy":
            argv += ["--load-format", "dummy"]
        return [*argv, "--trust-remote-code"] if launch.trust_remote_code else argv

    def make_request(self, launch: Launch, env: Mapping[str, str]) -> RequestSpec:
        said = parse(launch.fallback_args, self.name)
        # Only the served name is known to it, and the first of several is the model's.
        model = said.find("--served-model-name") or launch.model_argument
        is_text_only = said.find("--language-model-only") is not None or bool(
            _NO_IMAGES.search(said.find("--limit-mm-per-prompt") or "")
        )
        if not is_text_only and can_show_image(launch, env):
            return make_chat_request(has_image=True, model=model, ignore_eos=True)
        return make_completion_request(model, ignore_eos=True)

    def find_answer_fault(self, launch: Launch, path: str, body: bytes) -> str | None:
        return find_completion_fault(body, accept_empty_text=launch.weights == "dummy")


ENGINE = VllmEngine()
