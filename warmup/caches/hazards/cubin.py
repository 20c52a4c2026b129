"""Cubins that no driver can load: empty, truncated, or not ELF files at all."""

from __future__ import annotations

import os
from collections.abc import Iterator

from warmup.caches.elf import find_cubin_fault
from warmup.caches.hazards.rule import Finding, Rule, RuleGroup, Scope
from warmup.caches.remove import open_below, remove_inside
from warmup.words.escape import from_text
from warmup.words.files import Opener, open_regular


def find_fault(path: str, opener: Opener = open_regular) -> str | None:
    """What is wrong with a cubin as a file; None if it is whole, or gone meanwhile."""
    try:
        fd = opener(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    try:
        return find_cubin_fault(fd)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    finally:
        os.close(fd)


def check(scope: Scope) -> Iterator[Finding]:
    for entry, _, path in scope.iter_files(".cubin"):
        fault = find_fault(path, scope.open_file)
        if fault is not None:
            yield BROKEN.make_finding(scope, path, f"the cubin {fault}", entry=entry)


def repair(finding: Finding) -> str:
    """Remove the whole entry, so that it is compiled again."""
    root = from_text(finding.root)
    folder, _, name = finding.relative.rpartition("/")
    try:
        with open_below(root, folder) as opened:
            is_whole = find_fault(name, lambda _: opened.open_file(name)) is None
    except FileNotFoundError:
        is_whole = True
    if is_whole:
        return "nothing left to do"
    remove_inside(root, from_text(finding.entry))
    return f"removed the entry {finding.entry}"


def is_half(finding: Finding) -> bool:
    """Not one of another kind, which some server may have put there on purpose."""
    fault = find_fault(from_text(finding.path))
    return fault is not None and fault.startswith(("is empty", "is truncated"))


BROKEN = Rule(
    id="cubin-broken",
    severity="error",
    summary="A cubin is empty or truncated: it is found in the cache and fails at load",
    link="https://github.com/flashinfer-ai/flashinfer/issues/4062",
    repair=repair,
    fix="remove the entry; the next start compiles it",
    is_half=is_half,
)
GROUP = RuleGroup(
    (BROKEN,),
    ("deep_gemm", "triton", "inductor", "flashinfer", "tilelang", "tvm_ffi", "vllm"),
    check,
)
