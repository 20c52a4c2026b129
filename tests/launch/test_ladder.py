"""The ladders of the engines: what is asked, bounded by what the server can take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.launch.helpers import make_folder, make_launch, make_vision_folder
from warmup.launch.engine_table import get_engine
from warmup.launch.ladder import (
    NUM_TOKENS,
    LadderStep,
    ModelLimits,
    get_limit,
    make_ids,
    make_text_ladder,
    read_text_limits,
)
from warmup.launch.launch import Launch, RequestSpec
from warmup.words.names import ENGINE_NAMES

TEXT = {"architectures": ["LlamaForCausalLM"], "vocab_size": 1000, "max_position_embeddings": 8192}


def climb(launch: Launch, info: dict[str, Any] | None = None, **env: str) -> list[LadderStep]:
    return list(get_engine(launch.engine).get_ladder(launch, env, info or {}))


def get_names(steps: list[LadderStep]) -> list[str]:
    return [step.name for step in steps]


def find_prefill(steps: list[LadderStep]) -> int:
    """Tokens of the long prompt; 0 without one."""
    bodies = [step.requests[0].json for step in steps if step.name.startswith("prefill ")]
    return len(bodies[0].get("input_ids") or bodies[0]["prompt"]) if bodies else 0


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(make_folder(tmp_path / "m", config=TEXT, tokenizer_config={"chat_template": "x"}))


@pytest.mark.parametrize("name", sorted(set(ENGINE_NAMES) - {"command"}))
def test_off_asks_nothing_more_and_short_less_than_full(name: str, tmp_path: Path) -> None:
    folder = {
        "reference": lambda: make_folder(
            tmp_path / "m", config={"architectures": ["Qwen2_5_VLForConditionalGeneration"]}
        ),
        "sglang-diffusion": lambda: make_folder(
            tmp_path / "m", model_index={"_class_name": "FluxPipeline"}
        ),
    }.get(name, lambda: make_folder(tmp_path / "m", config=TEXT))()
    ladders = {
        ladder: get_names(climb(make_launch(name, str(folder), ladder=ladder)))
        for ladder in ("off", "short", "full")
    }
    assert ladders["off"] == []
    assert set(ladders["short"]) < set(ladders["full"])
    assert len(set(ladders["full"])) == len(ladders["full"]), "each step has a name of its own"


@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_what_a_text_engine_is_asked(name: str, folder: str) -> None:
    names = get_names(climb(make_launch(name, folder)))
    assert names[:4] == ["temperature", "top-p, top-k", "penalties", "stream"]
    assert names[5:] == ["burst 16", "json schema"]
    full = get_names(climb(make_launch(name, folder, ladder="full")))
    assert set(full) - set(names) == {"top-p", "top-k", "min-p", "logprobs", "burst 2", "burst 64"}


@pytest.mark.parametrize(
    ("name", "args", "info", "tokens"),
    [
        ("sglang", ["--chunked-prefill-size", "2048"], {}, 2147),
        ("sglang", ["--chunked-prefill-size", "2048"], {"chunked_prefill_size": 512}, 611),
        ("sglang", ["--chunked-prefill-size", "-1"], {}, 1123),
        ("sglang", [], {"chunked_prefill_size": -1}, 1123),
        ("sglang", [], {}, 8187),
        ("sglang", ["--max-total-tokens", "4096"], {}, 4091),
        ("sglang", [], {"max_total_num_tokens": 600, "context_length": None}, 595),
        ("sglang", ["--context-length", "20"], {}, 0),
        ("vllm", ["--max-num-batched-tokens=512"], {}, 611),
        ("vllm", ["--max_num_batched_tokens", "512"], {"data": [{"max_model_len": 256}]}, 251),
        ("vllm", ["--max-model-len", "16384"], {}, 16379),
        ("vllm", [], {"data": "nonsense"}, 8187),
        ("vllm", ["--max-model-len", "auto"], {"data": [{"max_model_len": 40960}]}, 16483),
    ],
)
def test_the_prefill_crosses_the_chunk_where_there_is_room(
    name: str, args: list[str], info: dict[str, Any], tokens: int, folder: str
) -> None:
    assert find_prefill(climb(make_launch(name, folder, fallback_args=args), info)) == tokens


def test_a_burst_is_no_wider_than_the_servers_batch(folder: str) -> None:
    narrow = climb(make_launch("vllm", folder, fallback_args=["--max-num-seqs", "4"]))
    (burst,) = [step for step in narrow if step.name.startswith("burst ")]
    assert len(burst.requests) == 4
    assert {request.json["temperature"] for request in burst.requests} == {0, 0.8}
    wide = make_launch("sglang", folder, ladder="full")
    names = get_names(climb(wide, {"max_running_requests": 2048}))
    assert [name for name in names if name.startswith("burst")] == [
        *("burst 16", "burst 2", "burst 64", "burst 256")
    ]


def test_each_engine_is_asked_in_its_own_words(folder: str) -> None:
    sglang = {step.name: step.requests[0] for step in climb(make_launch("sglang", folder))}
    assert (
        sglang["json schema"].json["sampling_params"]["json_schema"].startswith('{"type":"object"')
    )
    assert sglang["stream"].json["stream"] is True
    assert "stream" not in sglang["stream"].json["sampling_params"]
    vllm = {step.name: step.requests[0] for step in climb(make_launch("vllm", folder))}
    form = vllm["json schema"].json["response_format"]
    assert form["json_schema"]["schema"]["required"] == ["warm"]
    assert {each.json["model"] for each in vllm.values()} == {folder}
    off = make_launch("sglang", folder, fallback_args=["--grammar-backend", "none"])
    assert "json schema" not in get_names(climb(off))


@pytest.mark.parametrize("name", ["sglang", "vllm"])
def test_a_vision_language_model_is_shown_a_small_picture_and_a_large_one(
    name: str, tmp_path: Path
) -> None:
    folder = str(make_vision_folder(tmp_path / "m"))
    assert get_names(climb(make_launch(name, folder)))[-1] == "image 64"
    assert get_names(climb(make_launch(name, folder, ladder="full")))[-2:] == [
        *("image 64", "image 1024")
    ]


def test_requests_of_the_workflows_own_take_the_ladders_place(folder: str) -> None:
    one, two = RequestSpec(path="/a"), RequestSpec(path="/b")
    engine = get_engine("sglang")
    launch = make_launch("sglang", folder, requests=[{"path": "/a"}, {"path": "/b"}])
    assert engine.get_request(launch, {}) == one
    assert climb(launch) == [LadderStep("request 2", (two,))]
    assert engine.find_fault(launch, two, 200, b"whatever") is None
    assert climb(make_launch("sglang", folder, request={"path": "/a"})) == []


def test_a_later_answer_may_be_empty_and_the_first_may_not(folder: str) -> None:
    launch, engine = make_launch("vllm", folder), get_engine("vllm")
    request = engine.get_request(launch, {})
    body = b'{"choices": [{"text": ""}], "usage": {"completion_tokens": 4}}'
    assert engine.find_fault(launch, request, 200, body) is not None
    assert engine.find_fault(launch, request, 200, body, is_first=False) is None


def test_sglang_diffusion_is_asked_for_what_the_machine_can_do(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", model_index={"_class_name": "FluxPipeline"})
    launch, engine = make_launch("sglang-diffusion", str(folder)), get_engine("sglang-diffusion")
    assert "size" not in engine.get_request(launch, {"CUDA_VISIBLE_DEVICES": "0"}).json
    assert get_names(climb(launch, CUDA_VISIBLE_DEVICES="0")) == ["512x512, 2 steps"]
    assert engine.get_request(launch, {}).json["size"] == "256x256"
    assert climb(launch) == []


@pytest.mark.parametrize(
    ("model", "frames"), [("Qwen/Qwen-Image-Edit", {}), ("Wan-AI/Wan2.1-T2V", {"num_frames": 5})]
)
def test_sglang_diffusions_edits_and_videos_come_in_a_second_size(
    model: str, frames: dict[str, int]
) -> None:
    """Of `/vertex_generate`'s parameters; without a GPU the small size is all that is asked."""
    launch, engine = make_launch("sglang-diffusion", model), get_engine("sglang-diffusion")
    small = {"width": 256, "height": 256, **frames}
    assert "parameters" not in engine.get_request(launch, {"CUDA_VISIBLE_DEVICES": "0"}).json
    (step,) = climb(launch, CUDA_VISIBLE_DEVICES="0")
    assert (step.name, step.requests[0].json["parameters"]) == ("256x256", small)
    assert engine.get_request(launch, {}).json["parameters"] == small
    assert climb(launch) == []


SIZES = st.integers(0, 1 << 20)


@given(chunk=SIZES, room=SIZES, rows=SIZES, vocab=st.integers(1, 1 << 20))
def test_no_step_asks_for_more_than_there_is(chunk: int, room: int, rows: int, vocab: int) -> None:
    limits = ModelLimits(chunk=min(chunk, 4096), room=room, vocab=vocab, rows=rows)
    steps = make_text_ladder(
        lambda prompt, options: RequestSpec(path="/", json={"prompt": prompt, **options}),
        limits,
        has_schema=True,
    )
    for step in steps:
        assert not rows or len(step.requests) <= rows or len(step.requests) == 1
        prompt = step.requests[0].json["prompt"]
        if isinstance(prompt, list):
            assert not room or len(prompt) + NUM_TOKENS < room
            assert all(0 <= token < vocab for token in prompt)


@given(st.integers(1, 5000), st.integers(1, 300_000))
def test_ids_are_of_the_vocabulary(length: int, vocab: int) -> None:
    ids = make_ids(length, vocab)
    assert len(ids) == length
    assert 0 <= min(ids) <= max(ids) < vocab


def test_limits_are_read_from_whatever_is_there() -> None:
    assert get_limit(None, "auto", "-1", True, "4096", 8192, 1.5) == 4096
    assert get_limit() == 0
    assert read_text_limits(None) == (0, 256)
    nested = {"text_config": {"vocab_size": 7, "max_position_embeddings": 9}, "llm_config": 3}
    assert read_text_limits(nested) == (9, 7)
