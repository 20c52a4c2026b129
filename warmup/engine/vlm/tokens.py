"""Text to tokens and back: the folder's tokenizer, or plain bytes where only sizes matter."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from warmup.engine.vlm.chat import Chat
from warmup.words.errors import UsageError

# The released models' form: roles in <|im_start|>, an image as one placeholder between two marks.
# For folders whose tokenizer brings no template of its own.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Tokens(Protocol):
    """Safe to use from several threads."""

    @property
    def longest_bytes(self) -> int:
        """No token stands for more bytes of text than this."""

    def encode(self, chat: Chat) -> list[int]:
        """The chat as its template has it, one placeholder token per image."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text; special tokens give none."""


class FolderTokens:
    """transformers' tokenizer of `folder`. Raises `UsageError` if there is none that works."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        except Exception as error:  # of many kinds: missing, broken or unknown files
            reason = str(error).strip().splitlines()
            raise UsageError(
                f"{folder} has no tokenizer that can be loaded",
                cause=reason[0] if reason else type(error).__name__,
                hint="--load-format dummy needs none: it takes bytes for tokens",
            ) from error
        if not self._tokenizer.chat_template:
            self._tokenizer.chat_template = CHAT_TEMPLATE
        # Normalisation (NFC) may shorten text before it is cut: fourfold covers it.
        self.longest_bytes = 4 * max(len(token.encode()) for token in self._tokenizer.get_vocab())
        # A fast tokenizer is borrowed mutably while it works: one thread at a time.
        self._lock = threading.Lock()

    def encode(self, chat: Chat) -> list[int]:
        messages = [
            {
                "role": "system" if message.role == "developer" else message.role,
                "content": [
                    {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
                    for part in message.parts
                ],
            }
            for message in chat.messages
        ]
        with self._lock:
            text = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        with self._lock:
            text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text


class ByteTokens:
    """Bytes as tokens, for random weights without a tokenizer: lengths are real, words are not."""

    longest_bytes = 1

    def __init__(self, image_token: int) -> None:
        self._image_token = image_token

    def encode(self, chat: Chat) -> list[int]:
        ids: list[int] = []
        for message in chat.messages:
            ids += message.role.encode() + b":"
            for part in message.parts:
                ids += part.encode() if isinstance(part, str) else [self._image_token]
            ids += b"\n"
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(token % 256 for token in ids).decode(errors="replace")


class TextStream:
    """Tokens in, text out as soon as it is sure: no half characters, no half stop strings."""

    def __init__(self, tokens: Tokens, stop: Sequence[str] = ()) -> None:
        self._tokens = tokens
        self._stop = tuple(stop)
        self._ids: list[int] = []
        self._start = 0  # tokens from here on are decoded again, as context of the next ones
        self._end = 0  # text of the tokens before here has been taken
        self._held = ""
        self.is_stopped = False

    def add(self, token: int) -> str:
        """The text that `token` completes; after a stop string was met, nothing more."""
        self._ids.append(token)
        before = self._tokens.decode(self._ids[self._start : self._end])
        after = self._tokens.decode(self._ids[self._start :])
        if len(after) <= len(before) or after.endswith("\ufffd"):
            return ""
        self._start, self._end = self._end, len(self._ids)
        return self._release(after[len(before) :], is_last=False)

    def finish(self) -> str:
        """What is left, whole or not."""
        before = self._tokens.decode(self._ids[self._start : self._end])
        after = self._tokens.decode(self._ids[self._start :])
        self._start = self._end = len(self._ids)
        return self._release(after[len(before) :], is_last=True)

    def _release(self, text: str, is_last: bool) -> str:
        if self.is_stopped:
            return ""
        self._held += text
        places = [place for stop in self._stop if (place := self._held.find(stop)) >= 0]
        if places:
            self.is_stopped = True
            return self._held[: min(places)]
        keep = 0 if is_last else self._num_held()
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text

    def _num_held(self) -> int:
        """Characters at the end that may be the start of a stop string."""
        longest = max(map(len, self._stop), default=0)
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop):
                return length
        return 0
