"""Engine `sglang`: its language and vision-language server (facts: sglang 0.5.22 and 0.5.23,
srt/server_args.py, srt/arg_groups/fields/, srt/entrypoints/http_server.py).

It is refused, then 503, then 200; `/health` generates a token each time (about 1 s). With its port
taken it says so at once and dies only after 136 s, so the line is a crash pattern.
"""

from __future__ import annotations

from collections.abc import Mapping

from warmup.launch.adapter import HOST, PORT_TAKEN, Adapter, find_text_model_problem
from warmup.launch.answers import find_completion_fault, find_generate_fault
from warmup.launch.arguments import parse
from warmup.launch.engine import Allocation
from warmup.launch.folder import read_folder
from warmup.launch.launch import Launch, RequestSpec
from warmup.launch.requests import CHAT_PATH, can_show_image, make_chat_request
from warmup.words.errors import WarmupError

_TEXT_ONLY_OPTIONS = ("--language-only", "--language-model-only")
# 0.5.23, srt/configs/model_config.py: `mm_disabled_models`, and MiMo without an audio part.
_TEXT_BY_DEFAULT = frozenset({
    "Gemma3ForConditionalGeneration", "InklingForConditionalGeneration",
    "Llama4ForConditionalGeneration", "Step3VLForConditionalGeneration",
})  # fmt: skip
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
        "tilelang",
        "cute_dsl",
        "quack",
        "tvm_ffi",
        "torch_extensions",
        "cuda_driver",
    )
    crash_patterns = (
        "Scheduler hit an exception",
        "Received sigquit from a child",
        "Port is already in use",
        PORT_TAKEN,
    )
    num_extra_ports = 10

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
            return make_chat_request(has_image=True, ignore_eos=True)
        sampling = {"temperature": 0, "max_new_tokens": 8, "ignore_eos": True}
        return RequestSpec(path="/generate", json={"text": "warmup", "sampling_params": sampling})

    def find_answer_fault(self, launch: Launch, path: str, body: bytes) -> str | None:
        find = find_completion_fault if path == CHAT_PATH else find_generate_fault
        return find(body, accept_empty_text=launch.weights == "dummy")


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
