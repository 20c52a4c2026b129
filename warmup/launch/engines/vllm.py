"""Engine `vllm`: `vllm serve` (facts: vllm 0.32.0 and 0.33.0, entrypoints/cli/, v1/engine/core.py).

EngineCore and the workers are processes of their own, which live on when the leader is killed. A
model with an odd head size is healthy until its first request, of which it dies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from warmup.launch.adapter import (
    HOST,
    PORT_TAKEN,
    Adapter,
    find_text_model_problem,
)
from warmup.launch.answers import find_completion_fault
from warmup.launch.arguments import parse
from warmup.launch.engine import Allocation
from warmup.launch.folder import read_folder
from warmup.launch.ladder import (
    NUM_TOKENS,
    LadderStep,
    ModelLimits,
    get_limit,
    make_text_ladder,
    read_text_limits,
)
from warmup.launch.launch import Launch, RequestSpec
from warmup.launch.requests import (
    IMAGE_PX,
    can_show_image,
    make_chat_request,
    make_completion_request,
    make_image_steps,
)
from warmup.words.errors import WarmupError

# Without `--max-num-batched-tokens` a server cuts prefills at 2048 tokens, on GPUs of 70 GiB and
# more at 8192, of 160 GiB and more at 16384 (0.33.0, engine/arg_utils.py, get_batch_defaults).
_LARGEST_CHUNK = 16384
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
        "flashinfer_autotune",
        "tilelang",
        "cute_dsl",
        "quack",
        "tvm_ffi",
        "torch_extensions",
        "cuda_driver",
        "aiter",
        "foundry",
    )
    crash_patterns = (
        "EngineCore failed to start",
        "EngineCore encountered a fatal error",
        "Engine core initialization failed",
        "WorkerProc failed to start",
        PORT_TAKEN,
    )
    info_path = "/v1/models"

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
        model = _get_model(launch)
        if _is_shown_images(launch, env):
            return make_chat_request(image_px=IMAGE_PX, model=model, ignore_eos=True)
        return make_completion_request(model, ignore_eos=True)

    def make_ladder(
        self, launch: Launch, env: Mapping[str, str], info: Mapping[str, Any]
    ) -> Sequence[LadderStep]:
        model = _get_model(launch)

        def make(prompt: str | list[int], options: Mapping[str, Any]) -> RequestSpec:
            more = {"max_tokens": NUM_TOKENS, "ignore_eos": True, "prompt": prompt, **options}
            if (schema := more.pop("json_schema", None)) is not None:
                form = {"name": "warm", "schema": schema}
                more["response_format"] = {"type": "json_schema", "json_schema": form}
            if more.get("stream"):  # so that tokens are counted where no text came
                more["stream_options"] = {"include_usage": True}
            return make_completion_request(model, **more)

        steps = make_text_ladder(make, _get_limits(launch, env, info), has_schema=True)
        shows_images = _is_shown_images(launch, env)
        return [*steps, *(make_image_steps(model=model, ignore_eos=True) if shows_images else ())]

    def find_answer_fault(self, path: str, body: bytes, *, accept_empty_text: bool) -> str | None:
        return find_completion_fault(body, accept_empty_text=accept_empty_text)


def _get_model(launch: Launch) -> str:
    """Only the served name is known to it, and the first of several is the model's."""
    return parse(launch.fallback_args, "vllm").find("--served-model-name") or launch.model_argument


def _is_shown_images(launch: Launch, env: Mapping[str, str]) -> bool:
    said = parse(launch.fallback_args, "vllm")
    is_text_only = said.find("--language-model-only") is not None or bool(
        _NO_IMAGES.search(said.find("--limit-mm-per-prompt") or "")
    )
    return not is_text_only and can_show_image(launch, env)


def _get_limits(launch: Launch, env: Mapping[str, str], info: Mapping[str, Any]) -> ModelLimits:
    """The length from `/v1/models`; a prefill's chunk is told nowhere but in the arguments."""
    said = parse(launch.fallback_args, "vllm")
    files = launch.find_files(env)
    positions, vocab = read_text_limits(None if files is None else read_folder(files).config)
    cards = info.get("data")
    card = cards[0] if isinstance(cards, list) and cards and isinstance(cards[0], dict) else {}
    length = get_limit(card.get("max_model_len"), said.find("--max-model-len"))
    return ModelLimits(
        chunk=get_limit(said.find("--max-num-batched-tokens")) or _LARGEST_CHUNK,
        room=length or positions,
        vocab=vocab,
        rows=get_limit(said.find("--max-num-seqs")),
    )


ENGINE = VllmEngine()
