from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmup.launch.answers import (
    excerpt,
    find_completion_fault,
    find_generate_fault,
    find_media_fault,
    find_predictions_fault,
)
from warmup.launch.requests import make_image_url

PNG = make_image_url(64, 64).partition(",")[2]
MP4 = base64.b64encode(b"\0\0\0\x18ftypmp42" + b"\0" * 20).decode()
JUDGES = (
    find_completion_fault,
    find_generate_fault,
    find_media_fault,
    find_predictions_fault,
)


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def stream(*values: Any) -> bytes:
    return b"".join(b"data: " + encode(value) + b"\n\n" for value in values) + b"data: [DONE]\n\n"


def delta(text: str | None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


@pytest.mark.parametrize(
    "body",
    [
        encode({"choices": [{"message": {"content": "hi"}}]}),
        encode({"choices": [{"text": "hi", "finish_reason": "length"}], "error": None}),
        encode({"choices": [{"message": {"content": None, "reasoning_content": "hm"}}]}),
        encode({"choices": [{"message": {"content": None, "tool_calls": [{"id": "1"}]}}]}),
        stream(delta(None), delta("h"), delta("i")),
        b": keep-alive\n\n" + stream(delta("h")),
    ],
)
def test_good_completions(body: bytes) -> None:
    assert find_completion_fault(body) is None


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"null", "not JSON"),
        (encode([]), "not JSON"),
        (encode({}), "no choices"),
        (encode({"choices": []}), "no choices"),
        (encode({"choices": "x"}), "no choices"),
        (encode({"choices": [None]}), "no text"),
        (encode({"choices": [{"message": {"content": ""}}]}), "no text"),
        (encode({"choices": [{"text": "hi", "finish_reason": "abort"}]}), "'abort'"),
        (encode({"error": {"message": "CUDA out of memory"}}), "CUDA out of memory"),
        (encode({"error": "dead", "choices": [{"text": "hi"}]}), "dead"),
        (encode({"object": "error", "message": "boom"}), "boom"),
        (stream(delta("h"), {"error": "broke off"}), "broke off"),
        (b"data: [DONE]\n\n", "not JSON"),
        (stream(delta("h")) + b"data: {\n\n", "not JSON"),
    ],
)
def test_bad_completions(body: bytes, says: str) -> None:
    fault = find_completion_fault(body)
    assert fault is not None
    assert says in fault


def test_tokens_are_enough_for_random_weights_only() -> None:
    body = encode({"choices": [{"text": ""}], "usage": {"completion_tokens": 8}})
    assert find_completion_fault(body) is not None
    assert find_completion_fault(body, accept_empty_text=True) is None
    body = encode({"text": "", "meta_info": {"completion_tokens": 8}})
    assert find_generate_fault(body) is not None
    assert find_generate_fault(body, accept_empty_text=True) is None
    none = encode({"text": "", "meta_info": {"completion_tokens": 0}})
    assert find_generate_fault(none, accept_empty_text=True) is not None


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"text": "hi", "meta_info": {"finish_reason": {"type": "length"}}}, None),
        ({"text": "", "meta_info": {}}, "no text"),
        ({"meta_info": {}}, "no text"),
        (
            {"text": "h", "meta_info": {"finish_reason": {"type": "abort", "message": "too long"}}},
            "too long",
        ),
        ({"error": {"message": "bad"}}, "bad"),
    ],
)
def test_generate(answer: Any, says: str | None) -> None:
    fault = find_generate_fault(encode(answer))
    assert (fault is None) if says is None else (says in str(fault))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"data": [{"b64_json": PNG}]}, None),
        ({"data": [{"b64_json": MP4}]}, None),
        ({"data": [{"url": "http://h/a.png"}]}, None),
        ({"data": []}, "no data"),
        ({}, "no data"),
        ({"data": [{"b64_json": ""}]}, "no 'b64_json'"),
        ({"data": ["x"]}, "expected an object"),
        ({"data": [{"b64_json": "%%%"}]}, "not base64"),
        ({"data": [{"b64_json": 3}]}, "not base64"),
        ({"data": [{"b64_json": "aGVsbG8="}]}, "not an image"),
        ({"data": [{"b64_json": PNG}, {"error": "second failed"}]}, "second failed"),
        ({"error": {"message": "worker died"}}, "worker died"),
    ],
)
def test_media(answer: Any, says: str | None) -> None:
    fault = find_media_fault(encode(answer))
    assert (fault is None) if says is None else (says in str(fault))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"predictions": [{"output": MP4}]}, None),
        ({"predictions": []}, "no predictions"),
        ({"predictions": [{"error": "Model generation returned no output."}]}, "no output"),
        ({"predictions": [{"output": None}]}, "no 'output'"),
    ],
)
def test_predictions(answer: Any, says: str | None) -> None:
    fault = find_predictions_fault(encode(answer))
    assert (fault is None) if says is None else (says in str(fault))


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["choices", "message", "text", "data", "error", "usage", "meta_info"]
                ),
                inner,
                max_size=4,
            )
        ),
    ).map(encode)
)
def test_no_body_makes_a_judge_fail(body: bytes) -> None:
    for judge in JUDGES:
        fault = judge(body)
        assert fault is None or "\n" not in fault


def test_an_excerpt_is_one_bounded_line() -> None:
    assert excerpt(b"a\r\n  b\xff") == "a b\\xff"
    assert len(excerpt(b"x" * 10_000)) <= 301


def test_nesting_bombs_are_no_json() -> None:
    for judge in JUDGES:
        assert "not JSON" in str(judge(b'{"a":' * 100_000))
