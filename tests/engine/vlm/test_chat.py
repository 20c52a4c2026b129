from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmup.engine.messages import RequestError
from warmup.engine.vlm.chat import Chat, Image, Message, parse_chat
from warmup.engine.vlm.generation import TokenSampling

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
KEYS = st.sampled_from(
    ["role", "content", "type", "text", "image_url", "url", "user", "messages", "stop", "n"]
)
JSON = st.recursive(
    SCALARS | st.sampled_from(["user", "text", "image_url"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
BODY_KEYS = st.sampled_from(
    ["messages", "max_tokens", "stream", "stream_options", "stop", "n", "temperature", "tools",
     "response_format", "ignore_eos", "model", "max_completion_tokens", "top_p", "top_k", "seed"]
)  # fmt: skip


@given(body=st.dictionaries(BODY_KEYS, JSON, max_size=6))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_is_parsed_or_refused_with_a_field(body: Any) -> None:
    try:
        chat = parse_chat(body)
    except RequestError as error:
        assert error.failure.kind == "validation" and error.failure.field
    else:
        assert isinstance(chat, Chat) and chat.messages


def test_a_whole_request() -> None:
    content = [
        {"type": "text", "text": "é"},
        {"type": "image_url", "image_url": {"url": "data:x", "detail": "high"}},
    ]
    body = {
        "model": "any",
        "messages": [{"role": "system", "content": "be"}, {"role": "user", "content": content}],
        "max_tokens": 3,
        "max_completion_tokens": 5,
        "temperature": 0,
        "stop": "x",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    chat = parse_chat(body)
    assert chat.messages == (
        Message("system", ("be",)),
        Message("user", ("é", Image("data:x", "messages[1].content[1].image_url.url"))),
    )
    assert (chat.max_tokens, chat.stream, chat.include_usage, chat.stop) == (5, True, True, ("x",))
    assert chat.num_text_bytes == 4 and len(chat.images) == 1


MESSAGES = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("temperature", value) for value in (True, -1, float("nan"), float("inf"), "0", 1e9)),
        *(("top_p", value) for value in (0, 1.5, -1, float("nan"), "1", True)),
        *(("top_k", value) for value in (-2, 1.5, True, "40")),
        *(("seed", value) for value in (-1, 1 << 63, 0.5, True, "7")),
        ("frequency_penalty", 0.5), ("presence_penalty", -1),
    ],
)  # fmt: skip
def test_what_cannot_be_sampled_is_refused_with_its_field(field: str, value: Any) -> None:
    for temperature in ({}, {"temperature": 0.5}):
        with pytest.raises(RequestError) as caught:
            parse_chat({"messages": MESSAGES, **temperature, field: value})
        assert caught.value.failure.field == field


def test_greedy_is_what_a_request_without_a_temperature_gets() -> None:
    for body in ({}, {"temperature": 0}, {"temperature": 1e-9}, {"top_p": 0.5, "seed": 1}):
        assert parse_chat({"messages": MESSAGES, **body}).sampling is None


def test_a_sampled_request() -> None:
    body = {"messages": MESSAGES, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "seed": 7}
    assert parse_chat(body).sampling == TokenSampling(0.5, 7, 0.9, 40)
    unseeded = [parse_chat({"messages": MESSAGES, "temperature": 1}).sampling for _ in range(2)]
    assert unseeded[0] != unseeded[1], "each has a seed of its own"
    everything = parse_chat({**body, "top_k": -1}).sampling
    assert everything is not None and everything.top_k == 0
