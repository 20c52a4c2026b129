"""What starts a server in a test tree, and the arguments that it adds: facts, one entry each.

sglang 0.5.23: sglang/test/test_utils.py (popen_launch_server, ModelLaunchSettings),
test/vlm_utils.py, test/server_fixtures/*.py; multimodal_gen/test/server/testcase_configs.py
(DiffusionServerArgs) with test_server_common.py (diffusion_server).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Launcher:
    """parameters: in their order, with their defaults; of a class, the attributes it reads.

    template: its server's arguments. Of `*name` all items; `~name` the same, each split as a shell
    would; `{name}` stands for a value; what follows `name?` is given where that value is true.
    size: the option that says how many GPUs the server has. resizer: a function that is given a
    list of these and a number, and makes it their `num_gpus`.
    """

    parameters: Mapping[str, object]
    template: tuple[str, ...]
    model: str = "model"
    size: str = "--tp-size"
    resizer: str = ""


_VISION = Launcher(
    {"model": None, "extra_args": (), "trust_remote_code": True},
    ("*extra_args", "trust_remote_code? --trust-remote-code", "--enable-multimodal"),
)
CLASSES = {
    "DefaultServerBase": Launcher({"model": None, "other_args": ()}, ("*other_args",)),
    "MMMUServerBase": Launcher(
        {"model": None, "other_args": (), "mem_fraction_static": 0.8},
        (
            "--trust-remote-code --cuda-graph-max-bs-decode 64 --enable-multimodal",
            "--mem-fraction-static {mem_fraction_static}",
            "*other_args",
        ),
    ),
    "TestOpenAIMLLMServerBase": _VISION,
    "ImageOpenAITestMixin": _VISION,
    "VideoOpenAITestMixin": _VISION,
    "AudioOpenAITestMixin": _VISION,
    "OmniOpenAITestMixin": _VISION,
    "StreamingSessionServerBase": Launcher(
        {"model": None, "extra_args": ()}, ("--enable-streaming-session", "*extra_args")
    ),
    "DsaMtpServerBase": Launcher(
        {
            "model": None,
            "tp_size": 8,
            "attn_dp_size": 1,
            "mem_fraction_static": 0.7,
            "extra_server_args": (),
            "speculative_algorithm": "EAGLE",
            "speculative_num_steps": 5,
            "speculative_eagle_topk": 1,
            "speculative_num_draft_tokens": 6,
        },
        (
            "--trust-remote-code --tp {tp_size} --attn-dp-size {attn_dp_size}",
            "--speculative-algorithm {speculative_algorithm}",
            "--speculative-num-steps {speculative_num_steps}",
            "--speculative-eagle-topk {speculative_eagle_topk}",
            "--speculative-num-draft-tokens {speculative_num_draft_tokens}",
            "--mem-fraction-static {mem_fraction_static}",
            "*extra_server_args",
        ),
    ),
}
_SERVER = Launcher(
    {"model": None, "base_url": "", "timeout": 0, "api_key": None, "other_args": ()},
    ("*other_args",),
)
CALLS = {
    r"popen_launch_\w*server": _SERVER,
    # `--tp` before the others: the class adds it only where they lack one.
    r"\w*LaunchSettings": Launcher(
        {"model_path": None, "tp_size": 1, "extra_args": ()},
        ("--tp {tp_size}", "*extra_args", "--enable-multimodal --trust-remote-code"),
        model="model_path",
    ),
    r"DiffusionServerArgs": Launcher(
        {
            "model_path": None,
            "modality": None,
            "custom_validator": None,
            "num_gpus": 1,
            "tp_size": None,
            "ulysses_degree": None,
            "ring_degree": None,
            "cfg_parallel": None,
            "lora_path": None,
            "dynamic_lora_path": None,
            "second_lora_path": None,
            "dit_layerwise_offload": False,
            "dit_offload_prefetch_size": None,
            "enable_cache_dit": False,
            "text_encoder_cpu_offload": False,
            "extras": (),
        },
        (
            "--num-gpus {num_gpus}",
            "tp_size? --tp-size {tp_size}",
            "ulysses_degree? --ulysses-degree {ulysses_degree}",
            "ring_degree? --ring-degree {ring_degree}",
            "cfg_parallel? --enable-cfg-parallel",
            "lora_path? --lora-path {lora_path}",
            "dit_layerwise_offload? --dit-layerwise-offload true",
            "dit_offload_prefetch_size? --dit-offload-prefetch-size {dit_offload_prefetch_size}",
            "text_encoder_cpu_offload? --text-encoder-cpu-offload",
            "~extras",
        ),
        model="model_path",
        size="--num-gpus",
        resizer="_with_default_num_gpus",
    ),
}
# Without one of these words a file launches nothing that is looked for here.
WORDS = re.compile(
    rb"popen_launch_|LaunchSettings|DiffusionServerArgs|\w_args\b *[:=]|^ +model\b[^=\n]*="
    + "".join(f"|{name}" for name in CLASSES).encode(),
    re.MULTILINE,
)
_CALLS = [(re.compile(pattern), launcher) for pattern, launcher in CALLS.items()]


def find_launcher(call: ast.Call) -> Launcher | None:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    return next((each for pattern, each in _CALLS if pattern.fullmatch(name)), None)
