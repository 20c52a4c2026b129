"""OpenAI's forms of an answer: one object, or server-sent events."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ChatCompletion:
    """What all pieces of one answer have in common."""

    model: str
    num_prompt_tokens: int
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def make_whole(self, text: str, finish: str | None, num_tokens: int) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        body = self._make("chat.completion", [choice])
        return {**body, "usage": self._make_usage(num_tokens)}

    def make_chunk(self, text: str | None = None, finish: str | None = None) -> bytes:
        """No text: the first chunk, which tells the role; a finish: the last of the choice."""
        delta: dict[str, str] = {}
        if text is not None:
            delta = {"content": text}
        elif finish is None:
            delta = {"role": "assistant", "content": ""}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return make_event(self._make("chat.completion.chunk", [choice]))

    def make_usage_chunk(self, num_tokens: int) -> bytes:
        body = self._make("chat.completion.chunk", [])
        return make_event({**body, "usage": self._make_usage(num_tokens)})

    def _make(self, kind: str, choices: list[Any]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def _make_usage(self, num_tokens: int) -> dict[str, int]:
        return {
            "prompt_tokens": self.num_prompt_tokens,
            "completion_tokens": num_tokens,
            "total_tokens": self.num_prompt_tokens + num_tokens,
        }


def make_event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
