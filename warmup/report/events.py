"""The event stream of a run: every line, summary and document is a view of it.

Events are appended to `runs/<run id>/events.jsonl` and handed to the subscribed views. A view
that fails must not end a warm-up, and a full disk must not either: the first failed write is
reported once, to the views, as a `warning`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from warmup.report.document import ModelResult
from warmup.report.text import clip
from warmup.words.encoding import encode_json
from warmup.words.secrets import Redactor

MAX_KERNELS = 2000  # of one event; the others are counted
_MAX_NAME = 200
PROOF_PREFIX = "prove_"  # of a phase's name, in the boot that proves


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """t: seconds since the epoch. model: `MODEL:TP`, or None where the event is the run's.

    result: of `model_finished`, whose `data` it is in the file; None for the other kinds.

    Kinds and their `data`:
      run_started     {run_id, models: [name], version_key, price_per_gpu_hour, target}
      model_started   {index, total, engine, reason, argv, gpus, log}
      phase           {phase: kernels|spawn|ready|request|ladder|stop|memory, seconds?,
                       state: started|finished|failed}   `prove_spawn`, … in the boot that proves
      step            {step, state: answered|failed|left_out, seconds, new_entries: {family: n}}
      compiled        {family, kernels: [[t, name]], more: int}   what its boots compiled; t: when,
                       in seconds since the epoch, null where only the log tells of it
      heartbeat       {phase, seconds, last_line?}   at most every 30 s while a phase lasts, or
                       `lock`: the wait for another run that warms the same launch
      log_tail        {path, lines: [str], cut: bool, trouble: int?}   the number of the first line
                       that speaks of an error
      model_finished  {the model's object of `run --json`}
      warning         {text}
      repaired        {rule, path, state: done|failed, detail}   in the caches, before a server
      run_finished    {exit_code, seconds}
    """

    t: float
    kind: str
    model: str | None = None
    data: dict[str, Any] = {}
    result: ModelResult | None = None


View = Callable[[Event], None]


class Events:
    """Writes events to a file (None: nowhere) and to the views; what is secret in none of them."""

    def __init__(self, path: Path | None = None, redactor: Redactor | None = None) -> None:
        self._redactor = redactor or Redactor()
        self._file = path.open("ab", buffering=0) if path is not None else None
        self._views: list[View] = []

    def subscribe(self, view: View) -> None:
        self._views.append(view)

    def emit(self, kind: str, model: str | None = None, **data: Any) -> None:
        data = self._redactor.redact_data(data)
        self._publish(Event(t=time.time(), kind=kind, model=model, data=data))

    def finish(self, result: ModelResult) -> None:
        """Emit `model_finished`."""
        kind, result = "model_finished", result.redact(self._redactor)
        self._publish(Event(t=time.time(), kind=kind, model=result.name, result=result))

    def _publish(self, event: Event) -> None:
        for view in tuple(self._views):
            self._show(view, event)
        if self._file is not None:
            data = event.data if event.result is None else event.result
            line = {"t": event.t, "kind": event.kind, "model": event.model, "data": data}
            try:
                self._file.write(encode_json(line) + b"\n")
            except OSError as error:
                self.close()
                self.emit("warning", text=f"event log stopped: {error}")

    def _show(self, view: View, event: Event) -> None:
        try:
            view(event)
        except Exception as error:
            # Servers are running: better to lose a line than the step that stops them. A view
            # that cannot even show the warning is not asked again.
            if event.kind == "warning":
                self._views.remove(view)
            self.emit("warning", text=f"a view failed at {event.kind}, our own bug: {error!r}")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def tell_compiled(
    events: Events, model: str, family: str, kernels: Sequence[tuple[float | None, str]]
) -> None:
    """Emit `compiled`, as long as a line may be."""
    told = [
        (None if t is None else round(t, 3), clip(name, _MAX_NAME))
        for t, name in kernels[:MAX_KERNELS]
    ]
    more = len(kernels) - len(told)
    events.emit("compiled", model, family=family, kernels=told, more=more)
