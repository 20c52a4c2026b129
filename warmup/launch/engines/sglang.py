"""Engine `sglang`: its language and vision-language server (facts: sglang 0.5.22 and 0.5.23,
srt/server_args.py, srt/arg_groups/fields/, srt/entrypoints/http_server.py).

It is refused, then 503, then 200; `/health` generates a token each time (about 1 s). With its port
taken it says so at once and dies only after 136 s, so the line is a crash pattern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from warmup.launch.adapter import HOST, PORT_TAKEN, Adapter, find_text_model_problem
from warmup.launch.answers import find_completion_fault, find_generate_fault
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
    CHAT_PATH,
    IMAGE_PX,
    can_show_image,
    make_chat_request,
    make_image_steps,
)
from warmup.words.errors import WarmupError

_TEXT_ONLY_OPTIONS = ("--language-only", "--language-model-only")
# 0.5.23, srt/configs/model_config.py: `mm_disabled_models`, and MiMo without an audio part.
_TEXT_BY_DEFAULT = frozenset({
    "Gemma3ForConditionalGeneration", "InklingForConditionalGeneration",
    "Llama4ForConditionalGeneration", "Step3VLForConditionalGeneration",
})  # fmt: skip
_DEFAULT_CHUNK = 8192
_MIMO = frozenset({"MiMoV2ForCausalLM"})


class SglangEngine(Adapter):
    """Extra ports: the rendezvous', the eight after it, and NCCL's.

    DP attention opens dist-init-addr's port + 1 … + 7 (PortArgs.init_new: port_base and six
    derived ports), and without an explicit address port + 233 and those after it.
    """

    name = "sglang"
    distribution = "sglang"
    families = (
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
        "Scheduler hit an exception",
        "Received sigquit from a child",
        "Port is already in use",
        PORT_TAKEN,
    )
    num_extra_ports = 10
    info_path = "/server_info"

    def find_engine_problem(self, launch: Launch) -> WarmupError | None:
        return find_text_model_problem(launch, ("config.json",))

    def make_argv(self, launch: Launch, allocation: Allocation) -> list[str]:
        argv = [launch.python, "-m", "sglang.launch_server"]
        argv += ["--model-path", launch.model_argument, "--tp-size", str(launch.tp)]
        argv += ["--host", HOST, "--port", str(allocation.port)]
        if allocation.extra_ports and not _has_replicas(launch):
            argv += ["--dist-init-addr", f"{HOST}:{allocation.extra_ports[0]}"]
            argv += ["--nccl-port", str(allocation.extra_ports[-1])]
        if launch.revision and launch.folder is None:
            argv += ["--revision", launch.revision]
        if launch.weights == "dummy":
            argv += ["--load-format", "dummy"]
        return [*argv, "--trust-remote-code"] if launch.trust_remote_code else argv

    def make_request(self, launch: Launch, env: Mapping[str, str]) -> RequestSpec:
        if _is_shown_images(launch, env):
            # Without a `model`: a name with a colon in it would ask for a LoRA adapter.
            return make_chat_request(image_px=IMAGE_PX, ignore_eos=True)
        return _make_generate("warmup", {"temperature": 0, "max_tokens": 8})

    def make_ladder(
        self, launch: Launch, env: Mapping[str, str], info: Mapping[str, Any]
    ) -> Sequence[LadderStep]:
        said = parse(launch.fallback_args, self.name)
        has_grammar = said.find("--grammar-backend") != "none"
        steps = make_text_ladder(
            _make_generate, _get_limits(launch, env, info), has_schema=has_grammar
        )
        images = make_image_steps(ignore_eos=True) if _is_shown_images(launch, env) else []
        return [*steps, *images]

    def find_answer_fault(self, path: str, body: bytes, *, accept_empty_text: bool) -> str | None:
        find = find_completion_fault if path == CHAT_PATH else find_generate_fault
        return find(body, accept_empty_text=accept_empty_text)


def _make_generate(prompt: str | list[int], options: Mapping[str, Any]) -> RequestSpec:
    """`/generate`, which takes token ids and needs no chat template."""
    sampling = {"max_new_tokens": NUM_TOKENS, "ignore_eos": True, **options}
    body: dict[str, Any] = {"text" if isinstance(prompt, str) else "input_ids": prompt}
    if "max_tokens" in sampling:
        sampling["max_new_tokens"] = sampling.pop("max_tokens")
    if "json_schema" in sampling:
        sampling["json_schema"] = msgspec.json.encode(sampling["json_schema"]).decode()
    if sampling.pop("stream", False):
        body["stream"] = True
    if number := sampling.pop("logprobs", 0):
        body |= {"return_logprob": True, "top_logprobs_num": number}
    return RequestSpec(path="/generate", json={**body, "sampling_params": sampling})


def _get_limits(launch: Launch, env: Mapping[str, str], info: Mapping[str, Any]) -> ModelLimits:
    """What the server says of itself (`/server_info`), else its arguments, else the defaults.

    0.5.22 and 0.5.23 cut prefills by the GPU's memory: 2048 tokens below 35 GB, 4096 below 60 GB,
    8192 on H100 and H200, 16384 on B200 (srt/arg_groups/memory_hook.py).
    """
    said = parse(launch.fallback_args, "sglang")
    files = launch.find_files(env)
    positions, vocab = read_text_limits(None if files is None else read_folder(files).config)
    chunk = info.get("chunked_prefill_size", said.find("--chunked-prefill-size"))
    pool = get_limit(info.get("max_total_num_tokens"), said.find("--max-total-tokens"))
    length = get_limit(info.get("context_length"), said.find("--context-length")) or positions
    return ModelLimits(
        chunk=_DEFAULT_CHUNK if chunk is None else get_limit(chunk),
        room=get_limit(pool, length, info.get("max_req_input_len")),
        vocab=vocab,
        rows=get_limit(info.get("max_running_requests"), said.find("--max-running-requests")),
    )


def _is_shown_images(launch: Launch, env: Mapping[str, str]) -> bool:
    """Some architectures are served without their vision part unless that is asked for."""
    said = parse(launch.fallback_args, "sglang")
    files = launch.find_files(env)
    if files is None or said.find(*_TEXT_ONLY_OPTIONS) is not None:
        return False
    contents = read_folder(files)
    if said.find("--enable-multimodal") is None:
        config = contents.config or {}
        is_mimo_text = set(contents.architectures) >= _MIMO and not config.get("audio_config")
        if is_mimo_text or not _TEXT_BY_DEFAULT.isdisjoint(contents.architectures):
            return False
    return can_show_image(launch, env)


def _has_replicas(launch: Launch) -> bool:
    """Whether plain data parallelism is on: each replica then needs a rendezvous of its own.

    One explicit address or NCCL port would be shared by all of them (0.5.23,
    managers/data_parallel_controller.py launch_dp_schedulers binds it once per replica).
    """
    arguments = parse(launch.fallback_args, "sglang")
    size = arguments.find("--dp-size")
    attention = arguments.find("--enable-dp-attention", "--attn-dp-size")
    return size not in (None, "", "1") and attention is None


ENGINE = SglangEngine()
