"""`warmup-ci audit --launch-args PATH…`: tests that launch what the warm-up does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from warmup.drift.args import Drift, FoundLaunches, compare, find_launches
from warmup.launch.launch import Launch
from warmup.report.output import DataOutput
from warmup.words.encoding import encode_json
from warmup.words.errors import EXIT_FAILED, EXIT_OK
from warmup.words.escape import get_printable


def audit_launch_args(
    paths: Sequence[Path], launches: Sequence[Launch], *, json_output: bool = False
) -> int:
    """Print each difference. Returns 0 if none, 1 if any; what cannot be resolved is only told.

    Raises UsageError for a path that does not exist.
    """
    found = find_launches(paths)
    drifts = compare(found.launches, launches)
    status = EXIT_FAILED if any(drift.unresolved is None for drift in drifts) else EXIT_OK
    out = DataOutput(sys.stdout)
    if json_output:
        document = {
            "schema": 1,
            "exit_code": status,
            "launches": len(found.launches),
            "drifts": drifts,
            "problems": found.problems,
        }
        out.line(encode_json(document).decode())
    else:
        for line in _render(found, drifts):
            out.line(get_printable(line))
    return status


def _render(found: FoundLaunches, drifts: Sequence[Drift]) -> Iterator[str]:
    for drift in drifts:
        where = f"{drift.file}:{drift.line}: {drift.model or 'a model that the file does not name'}"
        if drift.unresolved is not None:
            yield f"unresolved  {where}: {drift.unresolved}"
            continue
        yield f"drift       {where}:{drift.tp}"
        for option in drift.missing_in_workflow:
            yield f"            only the tests:   {option}"
        for option in drift.missing_in_tests:
            yield f"            only the warm-up: {option}"
    for problem in found.problems:
        yield f"unread      {problem.file}: {problem.reason}"
    num_drifts = sum(drift.unresolved is None for drift in drifts)
    yield f"{len(found.launches)} launches found, {num_drifts} of them drifted"
