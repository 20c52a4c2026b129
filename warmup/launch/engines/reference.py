"""Engine `reference`: the embedded one, `warmup-ci serve` (design.md section 8).

Started as `python -m warmup.engine.serve`; nothing of it is imported here. It listens early,
answers `/health` 503 `{"status":"warming_up"}` until it is warm, then 200.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from warmup.launch.adapter import PORT_TAKEN, Adapter
from warmup.launch.answers import find_completion_fault, find_media_fault
from warmup.launch.engine import Allocation
from warmup.launch.engine_table import HUB_ENGINES, find_engines_for
from warmup.launch.folder import ModelFolder, find_name_problem, is_hub_id
from warmup.launch.hub_cache import read_hub_files
from warmup.launch.ladder import NUM_TOKENS, SAMPLED, LadderStep, get_limit, make_burst
from warmup.launch.launch import Launch, RequestSpec
from warmup.launch.reference_models import Task, find_task
from warmup.launch.requests import CHAT_PATH, SMALL_PX, make_chat_request, make_image_url
from warmup.words.errors import UsageError, WarmupError
from warmup.words.program import find_checkout

_LONG_WORDS, _BURST = 256, 4
# Frames come in fours behind the first. A video of 256 pixels takes a CPU ten times as long as a
# picture.
_SMALL, _SMALL_VIDEO, _NUM_FRAMES = 256, 128, 5
_NUM_NAMED = 3  # missing files in one line; the others are counted


class ReferenceEngine(Adapter):
    """`tp` is `--num-gpus` of a diffusion folder, `--tp` of a vision-language one."""

    name = "reference"
    # warmup-ci's own: its version is the engine's.
    distribution = "warmup-ci"
    families = ("triton", "inductor", "deep_gemm", "cuda_driver")
    info_path = "/v1/models"
    crash_patterns = ("Server warmup failed; aborting startup", PORT_TAKEN)

    def locate(self, launch: Launch, env: Mapping[str, str]) -> Launch:
        if launch.folder is not None or not is_hub_id(launch.model):
            return launch
        hub = read_hub_files(launch.model, launch.revision, env)
        return msgspec.structs.replace(launch, hub=hub)

    def find_engine_problem(self, launch: Launch) -> WarmupError | None:
        problem = find_name_problem(launch.model, launch.label) or _find_hub_problem(launch)
        if problem is not None or launch.contents is None:
            return problem
        if find_task(launch.contents) is not None:
            return None
        others = ", ".join(find_engines_for(launch))
        return UsageError(
            f"{launch.label}: engine reference cannot serve {_describe(launch.contents)}",
            hint=f"engines that might: {others}" if others else "is it the model's own folder?",
        )

    def make_argv(self, launch: Launch, allocation: Allocation) -> list[str]:
        folder = _get_contents(launch)
        sizes = "--tp" if find_task(folder) == "chat" else "--num-gpus"
        argv = [launch.python, "-m", "warmup.engine.serve", "--model", str(folder.path)]
        argv += ["--port", str(allocation.port), sizes, str(launch.tp)]
        if launch.weights == "dummy":
            argv += ["--load-format", "dummy"]
        return [*argv, "--trust-remote-code"] if launch.trust_remote_code else argv

    def make_env(self, launch: Launch) -> dict[str, str]:
        return find_checkout(os.environ)  # it does not run where warmup-ci was called

    def make_request(self, launch: Launch, env: Mapping[str, str]) -> RequestSpec:
        task = find_task(_get_contents(launch))
        return _make_chat() if task == "chat" else _make_media(task)

    def find_answer_fault(self, path: str, body: bytes, *, accept_empty_text: bool) -> str | None:
        if path == CHAT_PATH:
            return find_completion_fault(body, accept_empty_text=accept_empty_text)
        return find_media_fault(body)

    def make_ladder(
        self, launch: Launch, env: Mapping[str, str], info: Mapping[str, Any]
    ) -> Sequence[LadderStep]:
        task = find_task(_get_contents(launch))
        if task == "chat":
            return _make_chat_steps(info)
        is_slow = task == "video" and not env.get("CUDA_VISIBLE_DEVICES")
        return [_make_small(task, _SMALL_VIDEO if is_slow else _SMALL)]


def _find_hub_problem(launch: Launch) -> UsageError | None:
    """What the hub's cache lacks of this id; None for a folder, and where nothing is missing."""
    if launch.folder is not None:
        return None
    takers = ", ".join(HUB_ENGINES)
    hub = launch.hub
    if hub is None:
        return UsageError(
            f"{launch.label}: engine reference serves folders, and this hub id was not looked up",
            hint=f"engines that take the id itself: {takers}",
        )
    needs_weights = launch.weights != "dummy"
    if hub.is_complete(needs_weights=needs_weights):
        return None
    hint = "`warmup-ci run --download` fetches it; HF_HOME says where else the cache is; engines"
    hint += f" that fetch an id themselves: {takers}"
    if not hub.snapshot:
        return UsageError(
            f"{launch.label}: not in the hub's cache",
            cause=f"looked for revision {hub.revision} in {hub.repo}",
            hint=hint,
        )
    missing = hub.find_missing(needs_weights=needs_weights)
    more = f" and {len(missing) - _NUM_NAMED} more" if len(missing) > _NUM_NAMED else ""
    return UsageError(
        f"{launch.label}: the hub's cache lacks {', '.join(missing[:_NUM_NAMED])}{more}",
        cause=f"looked in {hub.snapshot} (revision {hub.revision})",
        hint=hint,
    )


def _make_chat() -> RequestSpec:
    image = {"type": "image_url", "image_url": {"url": make_image_url()}}
    content = [image, {"type": "text", "text": "warmup"}]
    return RequestSpec(
        path=CHAT_PATH,
        json={"messages": [{"role": "user", "content": content}], "max_tokens": 8},
    )


def _make_chat_steps(info: Mapping[str, Any]) -> list[LadderStep]:
    """Its own warm-up has shown it both image sizes; here is what several users do at once."""
    cards = info.get("data")
    card = cards[0] if isinstance(cards, list) and cards and isinstance(cards[0], dict) else {}
    room = get_limit(card.get("max_model_len"))
    words = "warm " * (min(_LONG_WORDS, room // 8) if room else _LONG_WORDS)
    sampled: dict[str, Any] = {**SAMPLED, "seed": 0, "max_tokens": NUM_TOKENS, "ignore_eos": True}

    def make(prompt: str | list[int], options: Mapping[str, Any]) -> RequestSpec:
        more = {"max_tokens": NUM_TOKENS, "ignore_eos": True, **options}
        return make_chat_request(text=str(prompt), **more)

    streamed = make_chat_request(**sampled, stream=True, stream_options={"include_usage": True})
    long = make_chat_request(text=words, max_tokens=NUM_TOKENS)
    small = make_chat_request(image_px=SMALL_PX, **sampled)
    return [
        LadderStep("sampled, streamed", (streamed,)),
        LadderStep("long prompt", (long,)),
        make_burst(make, _BURST),
        LadderStep(f"image {SMALL_PX}, sampled", (small,)),
        make_burst(make, 2 * _BURST, is_full=True),
    ]


def _make_small(task: Task | None, side: int) -> LadderStep:
    """Another size than the model's own: the first and the last step start different kernels."""
    request = _make_media(task)
    size = f"{side}x{side}"
    frames = {"num_frames": _NUM_FRAMES} if task == "video" else {}
    body = {**request.json, "size": size, "num_inference_steps": 2, **frames}
    return LadderStep(f"{size}, 2 steps", (RequestSpec(path=request.path, json=body),))


def _make_media(task: Task | None) -> RequestSpec:
    """Sizes and steps are the model's own, so that they are warmed."""
    body: dict[str, object] = {"prompt": "warmup", "response_format": "b64_json"}
    if task == "image":
        return RequestSpec(path="/v1/images/generations", json=body)
    path = "/v1/videos" if task == "video" else "/v1/images/edits"
    return RequestSpec(path=path, json={**body, "image": make_image_url()})


def _get_contents(launch: Launch) -> ModelFolder:
    if launch.contents is None:
        raise _find_hub_problem(launch) or UsageError(f"{launch.name}: no such folder")
    return launch.contents


def _describe(folder: ModelFolder) -> str:
    if folder.pipeline is not None:
        return f"pipeline {folder.pipeline} (model_index.json)"
    if folder.architectures:
        return f"architecture {', '.join(folder.architectures)} (config.json)"
    if folder.has_config:
        return "a config.json without `architectures`"
    return "a folder with neither model_index.json nor config.json"


ENGINE = ReferenceEngine()
