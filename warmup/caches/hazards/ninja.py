"""Ninja builds that will run again although nothing changed.

Freshness is ninja's: the command line, letter by letter, and mtimes. A symlinked CUDA home
rebuilds all (30 min, flashinfer#4884); sources that a reinstall made newer than the objects
rebuild those (3 min a launch, sglang#27605).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from warmup.caches.hazards.rule import Finding, Rule, RuleGroup, Scope
from warmup.words.files import Opener, open_regular, read_head

Edge = tuple[list[str], list[str]]

_MAX_BYTES = 8 << 20
_VARIABLE = re.compile(r"^([A-Za-z_]\w*) *= *(.*)$", re.MULTILINE)
_BUILD = re.compile(r"^build (.*?[^$]): *\S+ ?(.*)$", re.MULTILINE)
_REFERENCE = re.compile(r"\$\{?([A-Za-z_]\w*)\}?")


def read_ninja(
    path: str | Path, opener: Opener = open_regular
) -> tuple[dict[str, str], list[Edge]]:
    """Top-level variables, and (outputs, inputs) of each build statement, paths expanded.

    Enough of the language for what torch, tvm_ffi and FlashInfer write: no scopes, no includes.
    """
    text = read_head(path, _MAX_BYTES, opener).decode("utf-8", "surrogateescape").replace("$\n", "")
    variables = {name: value.strip() for name, value in _VARIABLE.findall(text)}

    def split(part: str) -> list[str]:
        words = re.split(r"(?<!\$) +", part.split(" || ")[0].replace(" | ", " ").strip())
        expanded = [_REFERENCE.sub(lambda m: variables.get(m[1], ""), word) for word in words]
        return [re.sub(r"\$([ :$])", r"\1", word) for word in expanded if word]

    edges = [(split(outputs), split(inputs)) for outputs, inputs in _BUILD.findall(text)]
    return variables, edges


def check(scope: Scope) -> Iterator[Finding]:
    for entry, _, path in scope.iter_files("build.ninja"):
        variables, edges = read_ninja(path, scope.open_file)
        if scope.family.name == "flashinfer":
            message = _find_other_spelling(variables.get("cuda_home", ""), scope.facts.cuda_home)
            if message:
                yield CUDA_HOME.make_finding(scope, path, message, entry=entry)
        newer = _find_inversion(Path(path).parent, edges)
        if newer is not None:
            message = f"{newer[0]} is older than its input {newer[1]}"
            yield MTIME_INVERSION.make_finding(scope, path, message, entry=entry)


def _find_other_spelling(used: str, expected: str) -> str:
    if not used or not expected or used == expected:
        return ""
    is_same = os.path.realpath(used) == os.path.realpath(expected)
    note = " (the same folder)" if is_same else ""
    return f"built with cuda_home {used}, this environment spells it {expected}{note}"


def _find_inversion(folder: Path, edges: Sequence[Edge]) -> tuple[str, str] | None:
    """The first output that is older than one of its inputs, with that input."""
    times: dict[str, int | None] = {}

    def find_mtime(name: str) -> int | None:
        if name not in times:
            try:
                times[name] = (folder / name).stat().st_mtime_ns
            except OSError:
                times[name] = None
        return times[name]

    for outputs, inputs in edges:
        made = [(t, name) for name in outputs if (t := find_mtime(name)) is not None]
        used = [(t, name) for name in inputs if (t := find_mtime(name)) is not None]
        if made and used and min(made)[0] < max(used)[0]:
            return min(made)[1], max(used)[1]
    return None


CUDA_HOME = Rule(
    id="flashinfer-cuda-home",
    severity="warning",
    summary="A FlashInfer module was built under another spelling of the CUDA home: it rebuilds",
    link="https://github.com/flashinfer-ai/flashinfer/issues/4884",
)
MTIME_INVERSION = Rule(
    id="ninja-mtime-inversion",
    severity="warning",
    summary="An object is older than its source: ninja builds it again at the next start",
    link="https://github.com/sgl-project/sglang/pull/27605",
)
GROUP = RuleGroup(
    (CUDA_HOME, MTIME_INVERSION), ("flashinfer", "tvm_ffi", "torch_extensions"), check
)
