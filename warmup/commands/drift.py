"""`warmup-ci drift PATH…`: tests that launch what the warm-up does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from warmup.commands.session import Session
from warmup.drift.compare import Drift, compare
from warmup.drift.scan import FoundLaunches, find_launches
from warmup.report.output import DataOutput
from warmup.words.encoding import encode_json
from warmup.words.errors import EXIT_FAILED, EXIT_OK
from warmup.words.escape import get_printable


def drift(session: Session, paths: Sequence[Path], *, json_output: bool = False) -> int:
    """Print each difference, and each model that no workflow lists.

    Returns 0 if there is none, 1 if there is one, and 1 where nothing could be compared; what
    cannot be resolved is only told. Raises UsageError for a path that does not exist.
    """
    found = find_launches(paths)
    drifts = compare(found.launches, session.launches)
    num_unresolved = sum(each.unresolved is not None for each in drifts)
    num_compared = len(found.launches) - num_unresolved
    status = EXIT_OK if num_compared and len(drifts) == num_unresolved else EXIT_FAILED
    out = DataOutput(sys.stdout)
    if json_output:
        document = {
            "schema": 1,
            "exit_code": status,
            "launches": len(found.launches),
            "compared": num_compared,
            "drifts": drifts,
            "problems": found.problems,
        }
        out.line(encode_json(document).decode())
        return status
    for line in _render(found, drifts):
        out.line(get_printable(line))
    return status


def _render(found: FoundLaunches, drifts: Sequence[Drift]) -> Iterator[str]:
    for each in drifts:
        where = f"{each.file}:{each.line}: {each.model or 'a model that the file does not name'}"
        if each.unresolved is not None:
            yield f"unresolved  {where}: {each.unresolved}"
        elif each.is_unlisted:
            size = "" if each.tp is None else f":{each.tp}"
            yield f"unlisted    {where}{size}: the workflow does not warm this model"
        else:
            yield f"drift       {where}:{each.tp}"
        for option in each.missing_in_workflow:
            yield f"            only the tests:   {option}"
        for option in each.missing_in_tests:
            yield f"            only the warm-up: {option}"
    for problem in found.problems:
        yield f"unread      {problem.file}: {problem.reason}"
    num_unresolved = sum(each.unresolved is not None for each in drifts)
    num_unlisted = sum(each.is_unlisted for each in drifts)
    num_compared = len(found.launches) - num_unresolved
    if not num_compared:
        yield f"nothing to compare: {len(found.launches)} launches found, none of them resolved"
        return
    yield (
        f"{len(found.launches)} launches found: {len(drifts) - num_unresolved - num_unlisted} "
        f"drifted, {num_unlisted} of unlisted models, {num_unresolved} unresolved"
    )
