from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmup.engine.messages import RequestError
from warmup.engine.vlm.chat import Chat, Image, Message, parse_chat

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
     "response_format", "ignore_eos", "model", "max_completion_tokens"]
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


@pytest.mark.parametrize("temperature", [0.5, True, -1, float("nan"), "0"])
def test_only_greedy_is_promised(temperature: Any) -> None:
    with pytest.raises(RequestError) as caught:
        parse_chat({"messages": [{"role": "user", "content": "x"}], "temperature": temperature})
    assert caught.value.failure.field == "temperature"
