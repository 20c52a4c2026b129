"""`warmup-ci drift PATH…`: tests that launch what the warm-up does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from warmup.commands.session import Session
from warmup.drift.api import DriftDocument, find_launches, judge
from warmup.report.api import get_count, show


def drift(
    session: Session,
    *,
    paths: Sequence[Path],
    suites: Sequence[str] = (),
    json_output: bool = False,
) -> int:
    """Print each launch that differs from the workflow's, and each model that it lacks.

    suites: patterns of those that count; () for all launches. Returns 0 if nothing differs, 1 if
    something does, and 1 where nothing could be compared; what cannot be resolved is only told.
    Raises UsageError for a path that does not exist.
    """
    launches = session.get_launches()
    document = judge(find_launches(paths, suites), launches)
    show(document, _render(document), json_output=json_output)
    return document.exit_code


def _render(document: DriftDocument) -> Iterator[str]:
    num_drifted = num_unlisted = 0
    unwarmed: dict[str, None] = {}
    for each in document.drifts:
        size = "" if each.tp is None else f":{each.tp}"
        name = f"{each.model}{size}" if each.model else "a model that the file does not name"
        where = f"{each.file}:{each.line}: {name}"
        if each.unresolved is not None:
            yield f"unresolved  {where}: {each.unresolved}"
        elif each.is_unlisted:
            num_unlisted += 1
            others = f", {each.warmed_at} does" if each.warmed_at else ""
            yield f"unlisted    {where}: the workflow does not warm this model{others}"
            suites = f" ({', '.join(each.suites)})" if each.suites else ""
            unwarmed |= {} if others else {f"{name}{suites}": None}
        else:
            num_drifted += 1
            yield f"drift       {where}"
            for option in each.missing_in_workflow:
                yield f"            only the tests:   {option}"
            for option in each.missing_in_tests:
                yield f"            only the warm-up: {option}"
    for problem in document.problems:
        yield f"unread      {problem.file}: {problem.reason}"
    if unwarmed:
        yield f"nobody warms {', '.join(unwarmed)}"
    found = f"{get_count(document.launches, 'launch', 'launches')} found"
    if not document.compared:
        yield f"nothing to compare: {found}, none of them resolved"
        return
    num_unresolved = document.launches - document.compared
    yield f"{found}: {num_drifted} drifted, {num_unlisted} unlisted, {num_unresolved} unresolved"
