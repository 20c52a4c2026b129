from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmup.engine.tiny import qwen2_5_vl
from warmup.engine.vlm.chat import Chat, Image, Message
from warmup.engine.vlm.tokens import ByteTokens, FolderTokens, TextStream
from warmup.words.errors import UsageError

BYTES = ByteTokens(image_token=1000)


def _stream(ids: Sequence[int], stop: Sequence[str] = ()) -> str:
    stream = TextStream(BYTES, stop)
    return "".join([*(stream.add(token) for token in ids), stream.finish()])


@given(text=st.text(max_size=30))
@settings(deadline=None)
def test_text_survives_being_streamed_byte_by_byte(text: str) -> None:
    assert _stream(text.encode()) == text


@given(data=st.binary(max_size=30))
@settings(deadline=None)
def test_broken_utf8_streams_to_some_text_and_never_raises(data: bytes) -> None:
    assert len(_stream(data)) <= len(data)


@given(text=st.text("abc", max_size=20), stop=st.lists(st.text("abc", min_size=1, max_size=3)))
@settings(deadline=None)
def test_stop_strings_are_never_seen(text: str, stop: list[str]) -> None:
    ends = [place for each in stop if (place := text.find(each)) >= 0]
    streamed = _stream(text.encode(), stop)
    if not ends:
        assert streamed == text
    else:
        # The first to be complete ends it, which need not be the first to begin.
        assert text.startswith(streamed) and not any(each in streamed for each in stop)
        assert len(streamed) <= max(ends)


def test_no_half_character_is_sent() -> None:
    stream = TextStream(BYTES)
    assert [stream.add(token) for token in "é!".encode()] == ["", "é", "!"]


def test_bytes_stand_in_for_a_tokenizer() -> None:
    chat = Chat((Message("user", (Image("", ""), "hé")),), None, False, False, False, ())
    assert BYTES.encode(chat) == [*b"user:", 1000, *"hé".encode(), *b"\n"]


def test_a_folder_without_a_template_of_its_own_gets_the_released_one(tmp_path: Path) -> None:
    qwen2_5_vl.make(tmp_path)
    chat = Chat(
        (
            Message("system", ("be brief",)),
            Message("user", (Image("", ""), "what?")),
            Message("assistant", ("a cat",)),
        ),
        None, False, False, False, (),
    )  # fmt: skip
    own = FolderTokens(tmp_path).encode(chat)
    (tmp_path / "chat_template.jinja").unlink()
    assert FolderTokens(tmp_path).encode(chat) == own
    assert own.count(261) == 1 and own[0] == 257


def test_a_broken_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tokenizer"):
        FolderTokens(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UsageError, match="tokenizer"):
        FolderTokens(tmp_path)
