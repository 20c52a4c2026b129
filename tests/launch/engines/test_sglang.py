from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.launch.helpers import (
    get_request,
    judge,
    make_allocation,
    make_folder,
    make_launch,
    make_snapshot,
    make_vision_folder,
)
from warmup.launch.engine_table import get_engine

ENGINE = get_engine("sglang")
SLOTS = make_allocation(num_extra_ports=ENGINE.num_extra_ports)


def test_argv() -> None:
    launch = make_launch("sglang", tp=8, python="/env/bin/python")
    assert ENGINE.get_argv(launch, SLOTS) == [
        *("/env/bin/python", "-m", "sglang.launch_server", "--model-path", "org/model"),
        *("--tp-size", "8", "--host", "127.0.0.1", "--port", "21000"),
        *("--dist-init-addr", "127.0.0.1:21001", "--nccl-port", "21010"),
    ]


def test_revision_and_dummy_weights() -> None:
    argv = ENGINE.get_argv(make_launch("sglang", revision="abc", weights="dummy"), SLOTS)
    assert argv[-4:] == ["--revision", "abc", "--load-format", "dummy"]


@pytest.mark.parametrize(
    ("args", "is_explicit"),
    [
        ([], True),
        (["--dp", "8", "--enable-dp-attention"], True),
        (["--attn-dp-size", "8"], True),
        (["--dp-size", "1"], True),
        (["--dp-size", "2"], False),
        (["--data-parallel-size=2"], False),
    ],
)
def test_replicas_choose_their_own_rendezvous(args: list[str], is_explicit: bool) -> None:
    argv = ENGINE.get_argv(make_launch("sglang", fallback_args=args), SLOTS)
    assert ("--dist-init-addr" in argv) == is_explicit
    assert ("--nccl-port" in argv) == is_explicit


def test_dp_attentions_derived_ports_are_among_the_leased() -> None:
    # sglang 0.5.23, PortArgs.init_new: dist_init_port + 1 + (0 … 5), and NCCL's.
    argv = ENGINE.get_argv(make_launch("sglang"), SLOTS)
    first = int(argv[argv.index("--dist-init-addr") + 1].rpartition(":")[2])
    derived = {first, *range(first + 1, first + 7)}
    nccl = int(argv[argv.index("--nccl-port") + 1])
    assert derived <= set(SLOTS.extra_ports)
    assert nccl in SLOTS.extra_ports
    assert nccl not in derived


def test_the_answer_is_generated_text() -> None:
    launch = make_launch("sglang")
    assert get_request(launch).path == "/generate"
    assert judge(launch, 200, b'{"text": "hi", "meta_info": {}}') is None
    assert judge(launch, 200, b'{"text": "", "meta_info": {}}') is not None


@pytest.mark.parametrize(
    ("architecture", "args", "has_image"),
    [
        ("Qwen2_5_VLForConditionalGeneration", [], True),
        ("BrandNewForConditionalGeneration", [], True),
        ("Qwen2_5_VLForConditionalGeneration", ["--language-only"], False),
        ("Gemma3ForConditionalGeneration", [], False),
        ("Gemma3ForConditionalGeneration", ["--enable-multimodal"], True),
        ("MiMoV2ForCausalLM", [], False),
    ],
)
def test_a_vision_language_model_is_shown_a_picture(
    tmp_path: Path, architecture: str, args: list[str], has_image: bool
) -> None:
    folder = make_vision_folder(tmp_path / "vl", architectures=[architecture])
    launch = make_launch("sglang", str(folder), fallback_args=args)
    request = get_request(launch)
    assert request.path == ("/v1/chat/completions" if has_image else "/generate")
    assert ("data:image/png;base64," in json.dumps(request.json)) == has_image
    answer = b'{"choices": [{"message": {"content": "grey"}}]}'
    assert (judge(launch, 200, answer) is None) == has_image


def test_a_text_model_and_one_without_chat_template_are_asked_as_before(tmp_path: Path) -> None:
    text = make_folder(tmp_path / "text", config={"architectures": ["LlamaForCausalLM"]})
    assert get_request(make_launch("sglang", str(text))).path == "/generate"
    base = make_folder(tmp_path / "base", config={"vision_config": {"depth": 1}})
    assert get_request(make_launch("sglang", str(base))).path == "/generate"
    told = make_launch("sglang", str(base), fallback_args=["--chat-template", "qwen2-vl"])
    assert get_request(told).path == "/v1/chat/completions"


def test_a_hub_id_is_judged_by_what_the_server_has_downloaded(tmp_path: Path) -> None:
    launch = make_launch("sglang", "org/vl")
    assert get_request(launch, HF_HOME=str(tmp_path)).path == "/generate"
    make_vision_folder(make_snapshot(tmp_path / "hub", "org/vl"))
    assert get_request(launch, HF_HOME=str(tmp_path)).path == "/v1/chat/completions"


def test_dead_schedulers_show_in_the_log() -> None:
    line = "[2026-01-01] Received sigquit from a child process. It usually means the child failed."
    assert any(pattern in line for pattern in ENGINE.crash_patterns)
    line = "[TP3] Scheduler hit an exception: Traceback (most recent call last):"
    assert any(pattern in line for pattern in ENGINE.crash_patterns)
    # What srt/utils/network.py says when it goes on to the next port is no crash.
    line = "Port 21001 is already in use, trying port 21002"
    assert not any(pattern in line for pattern in ENGINE.crash_patterns)
