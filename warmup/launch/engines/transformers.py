"""Engine `transformers`: `transformers serve` (facts: transformers 5.23.0, cli/serve.py).

The model is loaded before HTTP listens, so `/health` is refused until it is 200, with no 503
between. The model is pinned: a request must name it exactly as the argument did. A model that
cannot be loaded ends the process with a traceback.
"""

from __future__ import annotations

from warmup.launch.adapter import (
    HOST,
    Adapter,
    find_text_model_problem,
    make_completion_request,
)
from warmup.launch.answers import find_completion_fault
from warmup.launch.folder import find_folder, get_label, get_model_argument, has_chat_template
from warmup.launch.launch import Launch, RequestSpec, Slots
from warmup.words.errors import UsageError, WarmupError


class TransformersEngine(Adapter):
    """`tp` GPUs are shared by layers (`--device auto` is the server's default)."""

    name = "transformers"
    distribution = "transformers"
    # deep_gemm: integrations/deepgemm.py, FP8 checkpoints.
    families = ("triton", "inductor", "deep_gemm", "torch_extensions", "cuda_driver")

    def find_engine_problem(self, launch: Launch) -> WarmupError | None:
        if launch.weights == "dummy":
            return UsageError(
                f'{launch.name}: transformers serve has no random weights (weights = "dummy")',
                hint="use engine reference, sglang or vllm, or make a random checkpoint on disk",
            )
        folder = find_folder(launch.model)
        if folder is not None and "@" in str(folder):
            return UsageError(
                f"{get_label(launch)}: transformers serve reads what follows an @ as a revision",
                hint="move the model to a folder without @ in its path",
            )
        return find_text_model_problem(launch, ("config.json",))

    def make_argv(self, launch: Launch, slots: Slots) -> list[str]:
        argv = [launch.python, "-m", "transformers.cli.transformers", "serve"]
        argv += [_get_pinned(launch), "--host", HOST, "--port", str(slots.port)]
        return [*argv, "--trust-remote-code"] if launch.trust_remote_code else argv

    def make_env(self, launch: Launch) -> dict[str, str]:
        # Else each start asks PyPI for a newer release (huggingface_hub 1.x, check_cli_update).
        return {"HF_HUB_DISABLE_UPDATE_CHECK": "1"}

    def make_request(self, launch: Launch) -> RequestSpec:
        folder = find_folder(launch.model)
        if folder is not None and not has_chat_template(folder):
            body = make_completion_request(launch).json
            return RequestSpec(path="/v1/completions", json={**body, "model": _get_pinned(launch)})
        return RequestSpec(
            path="/v1/chat/completions",
            json={
                "model": _get_pinned(launch),
                "messages": [{"role": "user", "content": "warmup"}],
                "max_tokens": 8,
                "temperature": 0,
            },
        )

    def find_answer_fault(self, launch: Launch, body: bytes) -> str | None:
        return find_completion_fault(body)


def _get_pinned(launch: Launch) -> str:
    """The model as the server is told it and wants to hear it again: `id@revision`."""
    model = get_model_argument(launch)
    is_hub_id = find_folder(launch.model) is None
    return f"{model}@{launch.revision}" if is_hub_id and launch.revision else model


ENGINE = TransformersEngine()
