"""Cached libraries that need another which is gone: the server that loads one dies.

A new image replaces `libsycl.so.8` by `libsycl.so.9`; Triton's key holds sources alone, finds the
launcher that links the old one, and every job ends in `OSError: … cannot open shared object file`
(sglang#35337).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from warmup.caches.elf import find_needs
from warmup.caches.hazards.rule import Finding, Rule, RuleGroup, Scope
from warmup.caches.remove import open_below, set_aside
from warmup.words.escape import from_text


def check(scope: Scope) -> Iterator[Finding]:
    """Nothing is said where nobody knows the packages of the servers' interpreters."""
    if not scope.facts.packages:
        return
    for entry, _, path in scope.iter_files(".so"):
        missing = _list_missing(scope, path)
        if missing:
            message = f"it needs {', '.join(missing)}, which this host has nowhere"
            yield NEEDS_MISSING.make_finding(scope, path, message, entry=entry)


def _list_missing(scope: Scope, path: str) -> list[str]:
    """Of a file that is gone, or is no library, nothing is missing."""
    try:
        fd = scope.open_file(path)
    except OSError:
        return []
    try:
        needs = find_needs(fd)
    finally:
        os.close(fd)
    libraries = scope.facts.libraries
    return [] if needs is None else libraries.list_missing(needs, path.rpartition("/")[0])


def repair(finding: Finding) -> str:
    """Put the entry aside. Whoever meets a false alarm compiles once more, and loses nothing."""
    root, entry = from_text(finding.root), from_text(finding.entry)
    folder, _, name = finding.relative.rpartition("/")
    with open_below(root, folder) as opened:
        opened.stat(name)
    return f"put in quarantine: {set_aside(root, entry)}"


NEEDS_MISSING = Rule(
    id="library-needs-missing",
    severity="error",
    summary="A cached library needs another that is gone: the server dies when it loads it",
    link="https://github.com/sgl-project/sglang/pull/35337",
    repair=repair,
    fix="put the entry in quarantine; the next start compiles it",
)
GROUP = RuleGroup(
    (NEEDS_MISSING,),
    (
        "aiter",
        "flashinfer",
        "inductor",
        "tilelang",
        "torch_extensions",
        "triton",
        "tvm_ffi",
        "vllm",
    ),
    check,
)
