"""The ladder: the short list of requests that stands for what the tests will send.

One greedy request of eight tokens leaves sampling, long prefills and batches cold (sparkring#214,
TensorRT-LLM#18588: stalls of 46-50 s in a benchmark). Each step after the first request asks for
kernels that the ones before it do not need, with as few tokens as reach them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from warmup.launch.launch import Ladder, RequestSpec

# The first token comes out of the prefill; the others are decoded, each with the state before it.
NUM_TOKENS = 4
# Past the boundary of a chunk; no multiple of 16, which Triton specialises on.
_PAST_CHUNK = 99
_LONG = 1024  # where prefills are not cut
_SHORTEST = 32  # a prefill of fewer tokens is what every other step asks for
# Triton compiles one kernel for sizes that 16 divides and another for those that it does not; the
# rows of a burst come and go one by one, so that both are met.
SHORT_BURST = 16
FULL_BURSTS = (2, 64)
_MAX_BURST = 256
# Ids of plain text in every tokenizer: special ones lie at both ends of a vocabulary.
_FIRST_ID, _NUM_IDS = 10, 1000

SAMPLED = {"temperature": 0.8, "top_p": 0.9, "top_k": 40}
SCHEMA = {
    "type": "object",
    "properties": {"warm": {"type": "boolean"}},
    "required": ["warm"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class LadderStep:
    """One step: requests that are sent at once. is_full: climbed by `full` only."""

    name: str
    requests: tuple[RequestSpec, ...]
    is_full: bool = False


@dataclass(frozen=True, kw_only=True)
class ModelLimits:
    """What bounds a text server's ladder, in tokens and rows.

    chunk: of a prefill, 0 where the engine does not cut it. room: for prompt and answer together,
    0 where nobody knows. vocab: tokens there are. rows: that run at once, 0 for no known bound.
    """

    chunk: int
    room: int
    vocab: int
    rows: int = 0

    @property
    def prefill(self) -> int:
        """Tokens of the long prompt: over the chunk's boundary where there is room; 0 for none."""
        wanted = (self.chunk or _LONG) + _PAST_CHUNK
        fits = min(wanted, self.room - NUM_TOKENS - 1) if self.room else wanted
        return fits if fits >= _SHORTEST else 0

    @property
    def burst(self) -> int:
        return min(SHORT_BURST, self.rows or SHORT_BURST)


# Makes a request of a prompt (text, or token ids) and options by their OpenAI names, among them
# `json_schema`.
Make = Callable[[str | list[int], Mapping[str, Any]], RequestSpec]


def select(steps: Sequence[LadderStep], ladder: Ladder) -> tuple[LadderStep, ...]:
    """Those that this ladder climbs."""
    if ladder == "off":
        return ()
    return tuple(step for step in steps if ladder == "full" or not step.is_full)


def make_text_ladder(make: Make, limits: ModelLimits, *, has_schema: bool) -> list[LadderStep]:
    """Of an engine with batches, chunked prefills and its own samplers, after its first request."""

    def ask(name: str, **options: Any) -> LadderStep:
        return LadderStep(name, (make("warmup", options),))

    def ask_full(name: str, **options: Any) -> LadderStep:
        return LadderStep(name, (make("warmup", options),), is_full=True)

    steps = [
        ask("temperature", temperature=0.8),
        ask("top-p, top-k", **SAMPLED),
        ask("penalties", temperature=0, frequency_penalty=0.5, presence_penalty=0.5),
        ask("stream", temperature=0, stream=True),
    ]
    if limits.prefill:
        ids = make_ids(limits.prefill, limits.vocab)
        steps.append(LadderStep(f"prefill {limits.prefill}", (make(ids, {"temperature": 0}),)))
    if limits.burst > 1:
        steps.append(make_burst(make, limits.burst))
    if has_schema:
        steps.append(ask("json schema", temperature=0, json_schema=SCHEMA))
    steps += [
        ask_full("top-p", temperature=0.8, top_p=0.9),
        ask_full("top-k", temperature=0.8, top_k=40),
        ask_full("min-p", temperature=0.8, min_p=0.1),
        ask_full("logprobs", temperature=0, logprobs=5),
    ]
    top = min(limits.rows, _MAX_BURST)
    sizes = {size for size in (*FULL_BURSTS, top) if 1 < size <= (top or max(FULL_BURSTS))}
    return [*steps, *(make_burst(make, size, True) for size in sorted(sizes - {limits.burst}))]


def make_burst(make: Make, size: int, is_full: bool = False) -> LadderStep:
    """Greedy and sampled rows in one batch."""
    options: tuple[dict[str, Any], ...] = ({"temperature": 0}, {"temperature": 0.8, "top_p": 0.9})
    requests = tuple(make("warmup", options[row % 2]) for row in range(size))
    return LadderStep(f"burst {size}", requests, is_full)


def make_ids(length: int, vocab: int) -> list[int]:
    """A prompt of that many tokens."""
    first = min(_FIRST_ID, vocab // 2)
    span = max(min(vocab - first, _NUM_IDS), 1)
    return [first + index % span for index in range(length)]


def get_limit(*said: object) -> int:
    """The smallest whole number above 0 of what was said; 0 where there is none."""
    sizes = [int(each) for each in said if isinstance(each, int | str) and str(each).isdecimal()]
    return min((size for size in sizes if size > 0), default=0)


def read_text_limits(config: Mapping[str, Any] | None) -> tuple[int, int]:
    """Positions and vocabulary that a config.json tells; 0 and 256 where it does not.

    The text model's own are nested in a vision-language model's.
    """
    config = config or {}
    parts = [config, *(config.get(name) for name in ("text_config", "llm_config"))]
    found = [part for part in parts if isinstance(part, dict)]
    room = get_limit(*(part.get("max_position_embeddings") for part in found))
    vocab = get_limit(*(part.get("vocab_size") for part in found))
    return room, vocab or 256
