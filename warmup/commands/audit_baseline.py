"""`warmup-ci audit --baseline FILE`: what a dependency bump will cost, before it is merged."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from warmup.launch.launch import Launch
from warmup.report.output import DataOutput
from warmup.state.baseline import read_baseline
from warmup.state.forecast import Comparison, compare
from warmup.state.version_vector import VersionVector
from warmup.words.encoding import encode_json
from warmup.words.escape import get_printable


def audit_baseline(
    path: Path,
    launches: Sequence[Launch],
    vector: VersionVector,
    get_vector: Callable[[Launch], VersionVector],
    *,
    json_output: bool = False,
) -> int:
    """Print which models this host's vector turns cold. Returns 0 if none, 1 if any.

    vector: of all launches together, as the baseline's is; get_vector: of one. Raises UsageError.
    """
    found = compare(read_baseline(path), path, launches, vector, get_vector)
    out = DataOutput(sys.stdout)
    if json_output:
        out.line(encode_json(found).decode())
    else:
        for line in _render(found):
            out.line(get_printable(line))
    return found.exit_code


def _render(found: Comparison) -> list[str]:
    if not found.changes:
        return [f"same version vector as {found.baseline} ({found.version_key})"]
    lines = [f"changed     {change}  ({', '.join(change.families)})" for change in found.changes]
    for each in found.cold:
        entries = ", ".join(f"{count} {name}" for name, count in sorted(each.entries.items()))
        last = "no last time known" if each.seconds is None else f"last took {each.seconds:.1f} s"
        lines.append(
            f"cold        {each.model}:{each.tp}: {last}" + (f" ({entries})" * bool(entries))
        )
    lines.append(f"{len(found.cold)} models would be cold, {found.seconds:.1f} s together")
    return lines
