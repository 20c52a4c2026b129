"""`warmup-ci why MODEL[:TP]`: which ingredient made it cold, old → new, and what went with it."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from warmup.launch.launch import Launch
from warmup.report.output import DataOutput
from warmup.state.explain import Answer, TouchedChange, explain
from warmup.state.home import Home
from warmup.state.version_vector import VersionVector
from warmup.words.encoding import encode_json
from warmup.words.escape import get_printable


def why(
    home: Home,
    launch: Launch,
    vector: VersionVector,
    env: Mapping[str, str],
    *,
    json_output: bool = False,
) -> int:
    """Print why the launch is cold, or that it is warm. Returns 0 if warm, 1 if cold.

    vector, env: the version vector and the environment that its server would meet.
    """
    answer = explain(home, launch, vector, env)
    out = DataOutput(sys.stdout)
    if json_output:
        out.line(encode_json(answer).decode())
    else:
        for line in _render(answer):
            out.line(get_printable(line))
    return answer.exit_code


def _render(answer: Answer) -> list[str]:
    lines = [f"{answer.model}:{answer.tp} is {answer.state}: {answer.reason}"]
    if answer.nearest is not None and answer.state == "cold":
        lines.append(f"  nearest marker: {answer.nearest.created}  {answer.nearest.path}")
        width = max((len(change.name) for change in answer.changes), default=0)
        lines += [_render_change(change, width) for change in answer.changes]
        lines += [f"  launch: {change}" for change in answer.launch_changes]
        lines.append(
            f"  went with it: {answer.lost_entries} entries;"
            f" warming took {answer.lost_seconds:.1f} s then"
        )
    lines += [f"  {each.kind} marker: {each.path}: {each.reason}" for each in answer.problems]
    return lines


def _render_change(change: TouchedChange, width: int) -> str:
    touched = [
        f"{name} ({change.entries[name]} entries)" if name in change.entries else name
        for name in change.families
    ]
    values = f"{change.old or 'none'} → {change.new or 'none'}"
    return f"  {change.name:{width}}  {values}  touches {', '.join(touched) or 'no family'}"
