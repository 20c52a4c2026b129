"""The body of POST /v1/chat/completions, checked: every fault is a 400 that names its field."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from warmup.engine.messages import invalid
from warmup.engine.vlm.generation import TokenSampling

ROLES = ("system", "developer", "user", "assistant")
MAX_STOPS = 4
MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-5, 100.0


@dataclass(frozen=True)
class Image:
    """url: as the user wrote it. field: where, for the words of an error."""

    url: str
    field: str


@dataclass(frozen=True)
class Message:
    """parts: texts and images in their order."""

    role: str
    parts: tuple[str | Image, ...]


@dataclass(frozen=True)
class Chat:
    """A request that is well formed. max_tokens: None for as many as fit."""

    messages: tuple[Message, ...]
    max_tokens: int | None
    stream: bool
    include_usage: bool
    ignore_eos: bool
    stop: tuple[str, ...]
    sampling: TokenSampling | None = None

    @property
    def images(self) -> list[Image]:
        return [part for m in self.messages for part in m.parts if isinstance(part, Image)]

    @property
    def num_text_bytes(self) -> int:
        texts = [part for m in self.messages for part in m.parts if isinstance(part, str)]
        return sum(len(text.encode()) for text in texts)


def parse_chat(body: dict[str, Any]) -> Chat:
    """Raises `RequestError` (validation) for whatever cannot be served as asked."""
    _refuse_unserved(body)
    options = _get(body, "stream_options", dict, {})
    return Chat(
        messages=_parse_messages(body.get("messages")),
        max_tokens=_get_max_tokens(body),
        stream=_get(body, "stream", bool, False),
        include_usage=_get(options, "include_usage", bool, False, "stream_options."),
        ignore_eos=_get(body, "ignore_eos", bool, False),
        stop=_get_stop(body.get("stop")),
        sampling=_get_sampling(body),
    )


def _refuse_unserved(body: dict[str, Any]) -> None:
    """What would change the answer must not be passed over in silence."""
    _get(body, "model", str, "")
    if _get_number(body, "n", 1) != 1:
        raise invalid("one answer a request: n must be 1", "n")
    for name in ("frequency_penalty", "presence_penalty"):
        if body.get(name):
            raise invalid(f"{name} is not served by this engine", name)
    for name in ("tools", "functions", "logprobs", "top_logprobs", "audio"):
        if body.get(name):
            raise invalid(f"{name} is not served by this engine", name)
    form = _get(body, "response_format", dict, {"type": "text"})
    if form.get("type") != "text":
        raise invalid("only text answers are served", "response_format")


def _get(body: dict[str, Any], name: str, kind: type, default: Any, prefix: str = "") -> Any:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise invalid(f"{name} must be of type {kind.__name__}", prefix + name)
    return value


def _get_number(body: dict[str, Any], name: str, default: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise invalid(f"{name} must be a number, 0 or more", name)
    return value


def _get_max_tokens(body: dict[str, Any]) -> int | None:
    """OpenAI's newer name wins."""
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise invalid(f"{name} must be a whole number, 1 or more", name)
            return value
    return None


def _get_sampling(body: dict[str, Any]) -> TokenSampling | None:
    """None decodes greedily, which is what a request without a temperature gets.

    Without a seed one is chosen here, since all ranks must draw the same.
    """
    temperature = _get_number(body, "temperature", 0)
    top_p, top_k = _get_number(body, "top_p", 1), body.get("top_k")
    seed = body.get("seed")
    if not temperature <= MAX_TEMPERATURE:
        raise invalid(f"temperature must be at most {MAX_TEMPERATURE:g}", "temperature")
    if not 0 < top_p <= 1:
        raise invalid("top_p must be above 0 and at most 1", "top_p")
    if top_k is not None and not (_is_whole(top_k) and top_k >= -1):
        raise invalid("top_k must be a whole number, 1 or more; 0 and -1 take all tokens", "top_k")
    if seed is not None and not (_is_whole(seed) and 0 <= seed < 1 << 63):
        raise invalid("seed must be a whole number from 0 to 2^63 - 1", "seed")
    # Below it the likeliest token is all that is left, and a division by it is no number.
    if temperature < MIN_TEMPERATURE:
        return None
    drawn = secrets.randbits(63) if seed is None else seed
    return TokenSampling(float(temperature), drawn, float(top_p), max(top_k or 0, 0))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _get_stop(value: Any) -> tuple[str, ...]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if (
        not isinstance(stops, list)
        or len(stops) > MAX_STOPS
        or not all(isinstance(stop, str) and stop for stop in stops)
    ):
        raise invalid(f"stop must be a string or a list of at most {MAX_STOPS}", "stop")
    return tuple(stops)


def _parse_messages(messages: Any) -> tuple[Message, ...]:
    if not isinstance(messages, list) or not messages:
        raise invalid("messages must be a list with at least one message", "messages")
    return tuple(_parse_message(m, f"messages[{i}]") for i, m in enumerate(messages))


def _parse_message(message: Any, field: str) -> Message:
    if not isinstance(message, dict):
        raise invalid("a message is a JSON object", field)
    role = message.get("role")
    if role not in ROLES:
        raise invalid(f"unknown role {role!r}: one of {', '.join(ROLES)}", f"{field}.role")
    content = message.get("content")
    if isinstance(content, str):
        return Message(role, (_check_text(content, f"{field}.content"),))
    if not isinstance(content, list) or not content:
        raise invalid("content must be text or a list of parts", f"{field}.content")
    parts = (_parse_part(part, f"{field}.content[{i}]") for i, part in enumerate(content))
    return Message(role, tuple(parts))


def _parse_part(part: Any, field: str) -> str | Image:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return _check_text(part.get("text"), f"{field}.text")
    if kind == "image_url":
        holder = part.get("image_url")
        url = holder.get("url") if isinstance(holder, dict) else None
        if not isinstance(url, str):
            raise invalid("image_url must be an object with a url", f"{field}.image_url.url")
        return Image(url, f"{field}.image_url.url")
    raise invalid(f"unknown kind of part {kind!r}: text or image_url", f"{field}.type")


def _check_text(text: Any, field: str) -> str:
    if not isinstance(text, str):
        raise invalid("text must be a string", field)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise invalid(f"the text is not valid Unicode: {error.reason}", field) from None
    return text
