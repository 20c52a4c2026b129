"""`warmup-ci audit`: hold markers against reality, and caches against their known hazards."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from warmup.commands.audit_report import render
from warmup.report.output import DataOutput
from warmup.state.audit import make_audit
from warmup.state.judge import HostView
from warmup.words.encoding import encode_json
from warmup.words.errors import UsageError
from warmup.words.escape import get_printable
from warmup.words.names import FAMILY_NAMES


def audit(
    session: HostView,
    *,
    families: Sequence[str] = FAMILY_NAMES,
    deep: bool = False,
    fix: bool = False,
    dry_run: bool = False,
    json_output: bool = False,
    sarif: bool = False,
) -> int:
    """Print what is wrong. Returns 0 (nothing but notes), 1 (findings), 4 (bytes were changed).

    The options are `make_audit`'s. Raises UsageError.
    """
    if json_output and sarif:
        raise UsageError("--json and --format sarif exclude each other")
    found = make_audit(session, families=families, deep=deep, fix=fix, dry_run=dry_run)
    out = DataOutput(sys.stdout)
    if sarif:
        from warmup.commands.audit_sarif import make_sarif

        out.line(encode_json(make_sarif(found)).decode())
    elif json_output:
        out.line(encode_json(found).decode())
    else:
        for line in render(found):
            out.line(get_printable(line))
    return found.exit_code
