"""What starts a server in a test tree, and the arguments that it adds: facts, one entry each.

sglang 0.5.23: sglang/test/test_utils.py (popen_launch_server, ModelLaunchSettings),
test/vlm_utils.py, test/server_fixtures/*.py; multimodal_gen/test/server/testcase_configs.py
(DiffusionServerArgs) with test_server_common.py (diffusion_server).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Launcher:
    """How a call, or the attributes of a class, become a server's arguments.

    parameters: of the call, in order, the model among them; or the class's attributes. added: what
    every server gets. options: parameter → option; True gives it alone, None and False do not.
    lists: parameters that are lists of arguments. defaults: of parameters, None without one.
    size: the option that says how many GPUs the server has.
    """

    parameters: str
    added: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    lists: tuple[str, ...] = ()
    defaults: Mapping[str, object] = field(default_factory=dict)
    size: str = "--tp-size"

    @property
    def names(self) -> list[str]:
        return self.parameters.split()

    @property
    def model(self) -> str:
        """The parameter that is the model: the first."""
        return self.names[0]


_VISION = Launcher(
    "model extra_args trust_remote_code",
    "--enable-multimodal",
    {"trust_remote_code": "--trust-remote-code"},
    ("extra_args",),
    {"trust_remote_code": True},
)
CLASSES = {
    "DefaultServerBase": Launcher("model other_args", lists=("other_args",)),
    "MMMUServerBase": Launcher(
        "model other_args mem_fraction_static",
        "--trust-remote-code --cuda-graph-max-bs-decode 64 --enable-multimodal",
        {"mem_fraction_static": "--mem-fraction-static"},
        ("other_args",),
        {"mem_fraction_static": 0.8},
    ),
    "TestOpenAIMLLMServerBase": _VISION,
    "ImageOpenAITestMixin": _VISION,
    "VideoOpenAITestMixin": _VISION,
    "AudioOpenAITestMixin": _VISION,
    "OmniOpenAITestMixin": _VISION,
    "StreamingSessionServerBase": Launcher(
        "model extra_args", "--enable-streaming-session", lists=("extra_args",)
    ),
    "DsaMtpServerBase": Launcher(
        "model tp_size attn_dp_size mem_fraction_static extra_server_args speculative_algorithm"
        " speculative_num_steps speculative_eagle_topk speculative_num_draft_tokens",
        "--trust-remote-code",
        {
            "tp_size": "--tp",
            "attn_dp_size": "--attn-dp-size",
            "speculative_algorithm": "--speculative-algorithm",
            "speculative_num_steps": "--speculative-num-steps",
            "speculative_eagle_topk": "--speculative-eagle-topk",
            "speculative_num_draft_tokens": "--speculative-num-draft-tokens",
            "mem_fraction_static": "--mem-fraction-static",
        },
        ("extra_server_args",),
        {
            "tp_size": 8, "attn_dp_size": 1, "mem_fraction_static": 0.7,
            "speculative_algorithm": "EAGLE", "speculative_num_steps": 5,
            "speculative_eagle_topk": 1, "speculative_num_draft_tokens": 6,
        },
    ),
}  # fmt: skip
CALLS = {
    r"popen_launch_\w*server": Launcher(
        "model base_url timeout api_key other_args", lists=("other_args",)
    ),
    r"\w*LaunchSettings": Launcher(
        "model_path tp_size extra_args",
        "--enable-multimodal --trust-remote-code",
        {"tp_size": "--tp"},
        ("extra_args",),
        {"tp_size": 1},
    ),
    r"DiffusionServerArgs": Launcher(
        "model_path modality custom_validator num_gpus tp_size ulysses_degree ring_degree"
        " cfg_parallel lora_path dynamic_lora_path second_lora_path dit_layerwise_offload"
        " dit_offload_prefetch_size enable_cache_dit text_encoder_cpu_offload extras",
        "",
        {
            "num_gpus": "--num-gpus",
            "tp_size": "--tp-size",
            "ulysses_degree": "--ulysses-degree",
            "ring_degree": "--ring-degree",
            "cfg_parallel": "--enable-cfg-parallel",
            "lora_path": "--lora-path",
            "dit_layerwise_offload": "--dit-layerwise-offload",
            "dit_offload_prefetch_size": "--dit-offload-prefetch-size",
            "text_encoder_cpu_offload": "--text-encoder-cpu-offload",
        },
        ("extras",),
        {"num_gpus": 1},
        size="--num-gpus",
    ),
}
# Of an option and its value in one text: how DiffusionServerArgs takes them.
SPLIT_LISTS = ("extras",)
# It is given a list of cases and a number, and makes it the `num_gpus` of all of them.
RESIZER = "_with_default_num_gpus"
# What a class that launches nothing itself may set for one that does.
UNKNOWN = Launcher(
    "model other_args extra_args server_args", lists=("other_args", "extra_args", "server_args")
)
# An entry of a CI's own warm-up (sglang, scripts/ci/cuda/warmup_deep_gemm.py): it says no size.
FALLBACK = Launcher("model args", "--trust-remote-code", lists=("args",))
# Without one of these words a file launches nothing that is looked for here.
WORDS = re.compile(
    rb"popen_launch_|LaunchSettings|DiffusionServerArgs|FALLBACK_ARGS|\w_args\b *[:=]"
    rb"|^ +model\b[^=\n]*=" + "".join(f"|{name}" for name in CLASSES).encode(),
    re.MULTILINE,
)
_CALLS = [(re.compile(pattern), launcher) for pattern, launcher in CALLS.items()]


def find_launcher(call: ast.AST) -> Launcher | None:
    """Which launcher this node calls; None for another call, and for what is not a call."""
    func = getattr(call, "func", None)
    name = getattr(func, "attr", getattr(func, "id", ""))
    return next((each for pattern, each in _CALLS if pattern.fullmatch(name)), None)
