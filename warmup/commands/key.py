"""`warmup-ci key`: the version vector and its key, for a cache key in a workflow."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from warmup.report.output import DataOutput, Output
from warmup.report.summary import get_output
from warmup.state.home import Home
from warmup.state.version_vector import VersionVector
from warmup.words.encoding import encode_json
from warmup.words.errors import EXIT_OK, HostError, UsageError
from warmup.words.escape import get_printable


def key(
    vector: VersionVector,
    *,
    home: Home,
    cache_variables: Mapping[str, str],
    environ: Mapping[str, str],
    json_output: bool = False,
    only_key: bool = False,
    export: bool = False,
    github: bool = False,
    write_baseline: Path | None = None,
) -> int:
    """Print the vector, its key last (`only_key`: nothing else). Returns 0.

    cache_variables: what moves every family under the cache root, empty without one. export: print
    them instead, as shell lines; github: append them to $GITHUB_ENV as well.
    write_baseline: where to put a baseline, with the last cold times that `home` knows.
    Raises UsageError, HostError.
    """
    if export + json_output + only_key > 1:
        raise UsageError("--json, --only-key and --export exclude each other")
    if github:
        _append_github_env(cache_variables, environ)
    if write_baseline is not None:
        _write_baseline(write_baseline, home, vector)
    if (export or github) and not cache_variables:
        Output(sys.stderr).line("note: no cache root: each family keeps its own default folder")
    _print(vector, cache_variables, json_output, only_key, export)
    return EXIT_OK


def _print(
    vector: VersionVector,
    cache_variables: Mapping[str, str],
    json_output: bool,
    only_key: bool,
    export: bool,
) -> None:
    out = DataOutput(sys.stdout)
    if json_output:
        document = {
            "schema": 1,
            "version_key": vector.key,
            "ingredients": vector.ingredients,
            "variables": cache_variables,
        }
        out.line(encode_json(document).decode())
    elif export:
        for name, value in cache_variables.items():
            out.line(f"export {name}={_quote(value)}")
    elif only_key:
        out.line(vector.key)
    else:
        lines = [(each.name, get_printable(each.value)) for each in vector.ingredients]
        lines.append(("version_key", vector.key))
        width = max(len(name) for name, _ in lines)
        for name, value in lines:
            out.line(f"{name:{width}}  {value}")


def _quote(value: str) -> str:
    """In single quotes always, unlike shlex.quote: one form is easier to read and to look for."""
    return "'" + value.replace("'", "'\\''") + "'"


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


def _write_baseline(path: Path, home: Home, vector: VersionVector) -> None:
    from warmup.state.baseline import make_baseline, write_baseline

    baseline = make_baseline(home, vector)
    write_baseline(path, baseline)
    Output(sys.stderr).line(f"baseline with {len(baseline.models)} models: {path}")
