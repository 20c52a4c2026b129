"""quack objects of an architecture that this host does not have (quack-kernels 0.6.5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from warmup.caches.elf import find_architecture
from warmup.caches.hazards.rule import Finding, Rule, RuleGroup, Scope
from warmup.words.files import Opener, open_regular, read_head

_MAX_BYTES = 16 << 20
_NAMED = re.compile(rb"\bsm_(\d{2,3})[af]?\b")


def find_architectures(path: str | Path, opener: Opener = open_regular) -> set[int]:
    """SM numbers of the code inside an object: of the cubins it embeds, else as it names them."""
    data = read_head(path, _MAX_BYTES, opener)
    found, start = set(), data.find(b"\x7fELF", 4)
    while start >= 0:
        architecture = find_architecture(data[start : start + 64])
        if architecture is not None:
            found.add(architecture)
        start = data.find(b"\x7fELF", start + 4)
    return found or {int(number) for number in _NAMED.findall(data)}


def check(scope: Scope) -> Iterator[Finding]:
    """Objects whose code is for no GPU of this host; without one, folders that mix two."""
    present = {int(each.replace(".", "")) for each in scope.facts.capabilities}
    seen: dict[str, set[int]] = {}
    for entry, _, path in scope.iter_files(".o"):
        architectures = find_architectures(path, scope.open_file)
        if not architectures:
            continue
        told = "/".join(f"sm_{each}" for each in sorted(architectures))
        known = present or seen.setdefault(entry.rpartition("/")[0], architectures)
        if not architectures & known:
            others = "/".join(f"sm_{each}" for each in sorted(known))
            where = "this host has" if present else "its neighbours are"
            message = f"holds code for {told}, {where} {others}; the key does not tell them apart"
            yield ARCHITECTURE.make_finding(scope, path, message, entry=entry)


ARCHITECTURE = Rule(
    id="quack-architecture",
    severity="error",
    summary="A quack cache is shared across architectures, which its key does not hold",
    link="https://github.com/Dao-AILab/quack/blob/main/quack/cache/jit.py",
)
GROUP = RuleGroup((ARCHITECTURE,), ("quack",), check)
