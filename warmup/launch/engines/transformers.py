"""Engine `transformers`: `transformers serve` (facts: transformers 5.23.0, cli/serve.py).

The model is loaded before HTTP listens, so `/health` is refused until it is 200, with no 503
between. The model is pinned: a request must name it exactly as the argument did. A model that
cannot be loaded ends the process with a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from warmup.launch.adapter import HOST, Adapter, find_text_model_problem
from warmup.launch.answers import find_completion_fault
from warmup.launch.arguments import parse
from warmup.launch.engine import Allocation
from warmup.launch.folder import has_chat_template, read_folder
from warmup.launch.ladder import NUM_TOKENS, SAMPLED, LadderStep, read_text_limits
from warmup.launch.launch import Launch, RequestSpec
from warmup.launch.requests import (
    IMAGE_PX,
    can_show_image,
    make_chat_request,
    make_completion_request,
)
from warmup.words.errors import UsageError, WarmupError

# A temperature alone does not make it sample (cli/serving/utils.py, _build_generation_config), and
# `max_tokens` wins over the configuration's.
_SAMPLED = msgspec.json.encode(
    {"do_sample": True, **SAMPLED, "repetition_penalty": 1.1, "max_new_tokens": NUM_TOKENS}
).decode()
_LONG_WORDS = 256
_BURST = 4


class TransformersEngine(Adapter):
    """`tp` GPUs are shared by layers (`--device auto` is the server's default)."""

    name = "transformers"
    has_dummy_weights = False
    distribution = "transformers"
    # deep_gemm: integrations/deepgemm.py, FP8 checkpoints.
    families = ("triton", "inductor", "deep_gemm", "torch_extensions", "cuda_driver")

    def find_engine_problem(self, launch: Launch) -> WarmupError | None:
        if launch.weights == "dummy":
            return UsageError(
                f'{launch.name}: transformers serve has no random weights (weights = "dummy")',
                hint="use engine reference, sglang or vllm, or make a random checkpoint on disk",
            )
        if launch.folder is not None and "@" in str(launch.folder):
            return UsageError(
                f"{launch.label}: transformers serve reads what follows an @ as a revision",
                hint="move the model to a folder without @ in its path",
            )
        return find_text_model_problem(launch, ("config.json",))

    def make_argv(self, launch: Launch, allocation: Allocation) -> list[str]:
        argv = [launch.python, "-m", "transformers.cli.transformers", "serve"]
        argv += [_get_pinned(launch), "--host", HOST, "--port", str(allocation.port)]
        return [*argv, "--trust-remote-code"] if launch.trust_remote_code else argv

    def make_env(self, launch: Launch) -> dict[str, str]:
        # Else each start asks PyPI for a newer release (huggingface_hub 1.x, check_cli_update).
        return {"HF_HUB_DISABLE_UPDATE_CHECK": "1"}

    def make_request(self, launch: Launch, env: Mapping[str, str]) -> RequestSpec:
        return _make(launch)

    def make_ladder(
        self, launch: Launch, env: Mapping[str, str], info: Mapping[str, Any]
    ) -> Sequence[LadderStep]:
        """A long prompt whose answer is sampled and streamed; with continuous batching a burst.

        It has no structured output, and without continuous batching no batches.
        """
        files = launch.find_files(env)
        room, _ = read_text_limits(None if files is None else read_folder(files).config)
        words = "warm " * (min(_LONG_WORDS, room // 8) if room else _LONG_WORDS)
        options: dict[str, Any] = {
            "generation_config": _SAMPLED,
            "temperature": 0.8,
            "max_tokens": NUM_TOKENS,
        }
        steps = [
            LadderStep(
                "long prompt, sampled, streamed", (_make(launch, words, **options, stream=True),)
            ),
            LadderStep("greedy, streamed", (_make(launch, stream=True),), is_full=True),
            LadderStep("sampled", (_make(launch, **options),), is_full=True),
        ]
        if can_show_image(launch, env):
            image = make_chat_request(image_px=IMAGE_PX, model=_get_pinned(launch))
            steps.append(LadderStep(f"image {IMAGE_PX}", (image,)))
        if parse(launch.fallback_args, self.name).find("--continuous-batching") is not None:
            request = _make(launch, max_tokens=NUM_TOKENS)
            steps.append(LadderStep(f"burst {_BURST}", (request,) * _BURST))
        return steps

    def find_answer_fault(self, path: str, body: bytes, *, accept_empty_text: bool) -> str | None:
        return find_completion_fault(body, accept_empty_text=accept_empty_text)


def _make(launch: Launch, text: str = "warmup", **more: Any) -> RequestSpec:
    if launch.folder is not None and not has_chat_template(launch.folder):
        return make_completion_request(_get_pinned(launch), prompt=text, **more)
    return make_chat_request(model=_get_pinned(launch), text=text, **more)


def _get_pinned(launch: Launch) -> str:
    """The model as the server is told it and wants to hear it again: `id@revision`."""
    is_pinned = launch.folder is None and launch.revision
    return f"{launch.model}@{launch.revision}" if is_pinned else launch.model_argument


ENGINE = TransformersEngine()
