"""`warmup-ci key`: the version vector and its key, for a cache key in a workflow."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from warmup.commands.session import Session
from warmup.report.api import Output, get_count, get_output, show
from warmup.state.api import VersionVector, explain_unread
from warmup.words.errors import EXIT_OK, HostError, UsageError
from warmup.words.escape import get_printable


def key(
    session: Session,
    *,
    json_output: bool = False,
    only_key: bool = False,
    export: bool = False,
    github: bool = False,
    write_baseline: Path | None = None,
) -> int:
    """Print the vector, its key last (`only_key`: nothing else). Returns 0.

    export: print the variables that move every family under the cache root instead, as shell
    lines; github: append them to $GITHUB_ENV as well. write_baseline: where to put a baseline,
    with the last cold times that the home knows. Raises UsageError, HostError.
    """
    if export + json_output + only_key > 1:
        raise UsageError("--json, --only-key and --export exclude each other")
    vector, variables = session.vector, session.cache_variables
    if github:
        _append_github_env(variables, session.environ)
    if write_baseline is not None:
        from warmup.state.api import make_baseline
        from warmup.state.api import write_baseline as write

        baseline = make_baseline(session.home, vector)
        write(write_baseline, baseline)
        told = get_count(len(baseline.models), "model")
        Output(sys.stderr).line(f"baseline with {told}: {write_baseline}")
    if (export or github) and not variables:
        Output(sys.stderr).line("note: no cache root: each family keeps its own default folder")
    if vector.unread:
        text = f"warning: this key fits no marker, since {explain_unread(vector.unread)}"
        Output(sys.stderr).line(get_printable(text))
    document = {
        "schema": 1,
        "version_key": vector.key,
        "ingredients": [
            {"name": each.name, "value": each.value, "families": each.families}
            for each in vector.ingredients
        ],
        "variables": variables,
    }
    lines: Iterable[str] = [vector.key] if only_key else _render(vector)
    if export:
        # In single quotes always, unlike shlex.quote: one form is easier to read and to look for.
        quoted = {name: value.replace("'", "'\\''") for name, value in variables.items()}
        lines = (f"export {name}='{value}'" for name, value in quoted.items())
    show(document, lines, json_output=json_output)
    return EXIT_OK


def _render(vector: VersionVector) -> Iterator[str]:
    lines = [(each.name, each.value) for each in vector.ingredients]
    lines.append(("version_key", vector.key))
    width = max(len(name) for name, _ in lines)
    return (f"{name:{width}}  {value}" for name, value in lines)


def _append_github_env(variables: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """So that the steps after this one see the same caches as our servers."""
    path = environ.get("GITHUB_ENV")
    if not path:
        raise UsageError(
            "--github needs the variable GITHUB_ENV",
            hint="use --github in a GitHub Actions step, --export in a shell",
        )
    text = "".join(get_output(name, value) for name, value in variables.items())
    try:
        with Path(path).open("ab") as file:
            # Another step's last line may lack its end.
            start = b"\n" if file.tell() and text else b""
            file.write(start + text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise HostError(f"cannot append to GITHUB_ENV ({path})", cause=error.strerror) from error
