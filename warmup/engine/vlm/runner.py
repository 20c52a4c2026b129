"""Continuous batching of a vision-language model on one rank (`engine/worker.py` tells the rules).

Every step prefills the waiting requests that there is room for, then decodes one token of each
running one. Requests join and leave between steps; all ranks do the same in the same order.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warmup.engine.args import ServerArgs
from warmup.engine.messages import Failure, FailureKind, RankReply, Request
from warmup.engine.model_files import read_generation_config
from warmup.engine.ranks import Ranks, is_out_of_memory
from warmup.engine.shm.exchange import FeatureExchange, Setup
from warmup.engine.vlm.generation import Generation, Progress
from warmup.engine.vlm.model import VisionLanguageModel
from warmup.engine.vlm.sampling import Draw, choose

log = logging.getLogger(__name__)


@dataclass
class Sequence:
    """One row: of `request`, its copy. last: the token that the next step takes in."""

    request: Request
    generation: Generation
    last: int = -1
    num_tokens: int = 0
    draw: Draw | None = None

    def __post_init__(self) -> None:
        if self.generation.sampling is not None:
            self.draw = Draw(self.generation.sampling)


class VlmRunner:
    """Requests: `generate` {"generation": Generation} → `Progress` replies, the last one final."""

    def __init__(self, args: ServerArgs, ranks: Ranks) -> None:
        self._ranks = ranks
        self._model = VisionLanguageModel(args, ranks, args.max_model_len)
        self._stop_ids = get_stop_ids(Path(args.model), self._model.config)
        self._exchange = FeatureExchange(ranks, Setup(is_multimodal=True))
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []  # row i of the model's cache is that of item i
        self._counts: Counter[str] = Counter()

    @property
    def info(self) -> dict[str, Any]:
        return {
            "device": str(self._ranks.device),
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "tp": self._ranks.world_size,
            "kernels": self._model.installed,
        }

    @property
    def has_work(self) -> bool:
        return bool(self._waiting or self._running)

    def admit(self, requests: list[Request]) -> list[RankReply]:
        """Open the images of all, with one barrier at most; what cannot be opened is refused."""
        items, failures = self._exchange.receive([request.payload for request in requests])
        refused = []
        for request, item, failure in zip(requests, items, failures, strict=True):
            if failure is not None:
                refused.append(RankReply(request.id, failure=failure))
            else:
                wanted: Generation = item["generation"]
                self._waiting.extend(Sequence(request, wanted) for _ in range(wanted.copies))
        return refused

    def abort(self, request_id: str) -> None:
        """Its rows are free for the next requests at once."""
        self._waiting = deque(each for each in self._waiting if each.request.id != request_id)
        for row in reversed(range(len(self._running))):
            if self._running[row].request.id == request_id:
                self._remove(row)

    def step(self) -> list[RankReply]:
        replies: list[RankReply] = []
        while self._waiting and len(self._running) < self._model.cache.num_rows:
            replies += self._prefill(self._waiting.popleft())
        if self._running:
            logits = self._model.decode([each.last for each in self._running])
            self._counts["decode_steps_total"] += 1
            tokens = choose(logits, [each.draw for each in self._running])
            # From the last row down: `_remove` moves the last row into the gap.
            for row in reversed(range(len(tokens))):
                replies += self._take(row, tokens[row])
        return replies

    def _prefill(self, sequence: Sequence) -> list[RankReply]:
        wanted = sequence.generation
        num_before = self._model.cache.num_running
        try:
            logits = self._model.prefill(wanted.ids, wanted.pixels, wanted.grids)
        except ValueError as error:
            # Raised before any collective, and from data that all ranks share: by all or none.
            return self._fail(sequence, Failure("internal", str(error)))
        except RuntimeError as error:
            if self._ranks.world_size > 1:
                raise  # the other ranks may be inside a collective: only the rank's end frees them
            if self._model.cache.num_running > num_before:
                self._model.remove(num_before)
            log.exception("prefill failed")
            kind: FailureKind = "oom" if is_out_of_memory(error) else "internal"
            return self._fail(sequence, Failure(kind, str(error)))
        self._running.append(sequence)
        if not sequence.request.warmup:
            self._counts["prompt_tokens_total"] += len(wanted.ids)
        (token,) = choose(logits[None], [sequence.draw])
        return self._take(len(self._running) - 1, token)

    def _take(self, row: int, token: int) -> list[RankReply]:
        """`token` is the next of `row`; the reply that says so, and the row's end if it is one."""
        sequence = self._running[row]
        wanted = sequence.generation
        sequence.last = token
        sequence.num_tokens += 1
        progress = Progress(token)
        if token in self._stop_ids and not wanted.ignore_eos:
            progress = Progress(None, "stop")
        elif sequence.num_tokens == wanted.max_tokens:
            progress = Progress(token, "length")
        if not sequence.request.warmup:
            self._counts["generated_tokens_total"] += 1
        if progress.finish is not None:
            self._remove(row)
        if wanted.copies > 1 and (progress.finish is None or self._has_more(sequence)):
            return []
        return [RankReply(sequence.request.id, progress, final=progress.finish is not None)]

    def _fail(self, sequence: Sequence, failure: Failure) -> list[RankReply]:
        """One answer for all copies."""
        self.abort(sequence.request.id)
        return [RankReply(sequence.request.id, failure=failure)]

    def _has_more(self, sequence: Sequence) -> bool:
        others = (*self._running, *self._waiting)
        return any(each.request.id == sequence.request.id for each in others)

    def _remove(self, row: int) -> None:
        self._model.remove(row)
        self._running[row] = self._running[-1]
        self._running.pop()

    def get_stats(self) -> dict[str, float]:
        return {
            "requests_running": len(self._running),
            "requests_waiting": len(self._waiting),
            "shm_barriers_total": self._exchange.num_barriers,
            **self._counts,
        }

    def close(self) -> None:
        """Nothing outlives the process: segments are unlinked as soon as they are open."""


def get_stop_ids(folder: Path, config: Any) -> frozenset[int]:
    """Tokens that end an answer: generation_config.json's, else the text model's."""
    found = read_generation_config(folder).get("eos_token_id")
    if found is None:
        found = config.text_config.eos_token_id
    ids = found if isinstance(found, list) else [found]
    return frozenset(each for each in ids if isinstance(each, int))


def make_runner(args: ServerArgs, ranks: Ranks) -> VlmRunner:
    return VlmRunner(args, ranks)
