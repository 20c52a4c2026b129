"""Runs as `run` records them, in a folder, and what a hostile or later writer would put there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.report.helpers import make_result
from warmup.report.document import ModelResult
from warmup.report.events import Events, tell_compiled
from warmup.report.history import History, read_history
from warmup.words.files import Folder

# What must never reach a page, an attribute, a label or a terminal as it is.
HOSTILE = (
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "' onmouseover='alert(1)",
    "\u202egnp.exe\u2066",
    "]]><!--",
    "&lt;b&gt; &#x3c;",
    "a\x00b\x1b[31m\r\nc\udcff",
    "{{7*7}}${7*7}`",
    "javascript:alert(1)",
)


def write_run(runs: Path, run_id: str, events: Iterable[tuple[str, str | None, dict[str, Any]]],
              *, begin: float = 1_795_000_000.0) -> Path:  # fmt: skip
    """One run's file; its events are a second apart."""
    folder = runs / run_id
    folder.mkdir(parents=True)
    path = folder / "events.jsonl"
    lines = [
        json.dumps({"t": begin + number, "kind": kind, "model": model, "data": data})
        for number, (kind, model, data) in enumerate(events)
    ]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def record_run(runs: Path, run_id: str, results: Sequence[ModelResult],
               tail: Sequence[str] = ()) -> Path:  # fmt: skip
    """The same by `Events` itself, with every kind that a run has."""
    (runs / run_id).mkdir(parents=True)
    path = runs / run_id / "events.jsonl"
    events = Events(path)
    names = [result.name for result in results]
    events.emit("run_started", run_id=run_id, models=names, version_key="vk1",
                price_per_gpu_hour=2.5)  # fmt: skip
    for index, result in enumerate(results, start=1):
        if result.state != "warm":
            record_model(events, result, index, tail)
        events.finish(result)
    failed = any(result.state == "failed" for result in results)
    events.emit("run_finished", exit_code=int(failed), seconds=9.0)
    events.close()
    return path


def record_model(events: Events, result: ModelResult, index: int, tail: Sequence[str]) -> None:
    name = result.name
    events.emit("model_started", name, index=index, total=2, engine="command", gpus="0",
                reason=f"why {name}", argv=["serve", name], log=f"/runs/{name}.log")  # fmt: skip
    for phase in ("spawn", "ready", "request", "stop"):
        is_bad = phase == result.failed_phase
        events.emit("phase", name, phase=phase, state="started")
        events.emit("phase", name, phase=phase, state="failed" if is_bad else "finished",
                    seconds=0.25)  # fmt: skip
    events.emit(
        "step",
        name,
        step=f"step of {name}",
        state="answered",
        seconds=0.1,
        new_entries={"triton": 2},
    )
    tell_compiled(events, name, f"family of {name}", [(None, f"kernel of {name}"), (1.0, name)])
    events.emit("warning", name, text=f"warned of {name}")
    events.emit("log_tail", name, path=f"/runs/{name}.log", lines=list(tail), cut=True,
                trouble=len(tail) - 1 if tail else None)  # fmt: skip


def make_results(*texts: str) -> list[ModelResult]:
    """A failed and a warmed model of each text, which is its name, reason and all else."""
    return [
        make_result(
            model=text,
            tp=4 if state == "failed" else 8,
            state=state,
            engine=text,
            reason=text,
            failed_phase="request" if state == "failed" else None,
            new_entries={text: 3},
            argv=("serve", text),
            log=text,
            survivors=(text,),
        )
        for text in texts
        for state in ("failed", "warmed")
    ]


def read(runs: Path, *named: str) -> History:
    with Folder.open(runs) as folder:
        return read_history(folder, named, home=str(runs))
