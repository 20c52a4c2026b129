"""`warmup-ci audit`: hold markers against reality, and caches against their known hazards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from warmup.commands.audit_report import render
from warmup.report.output import show
from warmup.state.audit import make_audit
from warmup.state.judge import HostView
from warmup.words.errors import UsageError
from warmup.words.names import FAMILY_NAMES


def audit(
    session: HostView,
    *,
    families: Sequence[str] = FAMILY_NAMES,
    deep: bool = False,
    fix: bool = False,
    dry_run: bool = False,
    style: Literal["text", "sarif"] = "text",
    json_output: bool = False,
) -> int:
    """Print what is wrong. Returns 0 (nothing but notes), 1 (findings), 4 (bytes were changed).

    The options are `make_audit`'s. Raises UsageError.
    """
    if json_output and style == "sarif":
        raise UsageError("--json and --format sarif exclude each other")
    found = make_audit(session, families=families, deep=deep, fix=fix, dry_run=dry_run)
    if style == "sarif":
        from warmup.commands.audit_sarif import make_sarif

        show(make_sarif(found), (), json_output=True)
    else:
        show(found, render(found), json_output=json_output)
    return found.exit_code
