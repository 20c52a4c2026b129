"""Engine `vllm`: `vllm serve` (facts: vllm 0.32.0 and 0.33.0, entrypoints/cli/, v1/engine/core.py).

EngineCore and the workers are processes of their own, which live on when the leader is killed. A
model with an odd head size is healthy until its first request, of which it dies.
"""

from __future__ import annotations

from warmup.launch.adapter import (
    HOST,
    PORT_TAKEN,
    Adapter,
    find_text_model_problem,
    make_completion_request,
)
from warmup.launch.answers import find_completion_fault
from warmup.launch.arguments import parse
from warmup.launch.folder import find_folder, get_model_argument
from warmup.launch.launch import Launch, RequestSpec, Slots
from warmup.words.errors import WarmupError


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

    def make_argv(self, launch: Launch, slots: Slots) -> list[str]:
        # `python -m`, as the console script may belong to another interpreter.
        argv = [launch.python, "-m", "vllm.entrypoints.cli.main", "serve"]
        argv += [get_model_argument(launch), "--host", HOST, "--port", str(slots.port)]
        argv += ["--tensor-parallel-size", str(launch.tp)]
        if launch.revision and find_folder(launch.model) is None:
            argv += ["--revision", launch.revision]
        if launch.weights == "dummy":
            argv += ["--load-format", "dummy"]
        return [*argv, "--trust-remote-code"] if launch.trust_remote_code else argv

    def make_request(self, launch: Launch) -> RequestSpec:
        # Only the served name is known to it, and the first of several is the model's.
        served = parse(launch.fallback_args, self.name).find("--served-model-name")
        request = make_completion_request(launch)
        body = {**request.json, "ignore_eos": True}
        return RequestSpec(path=request.path, json={**body, "model": served or body["model"]})

    def find_answer_fault(self, launch: Launch, body: bytes) -> str | None:
        return find_completion_fault(body, accept_empty_text=launch.weights == "dummy")


ENGINE = VllmEngine()
