"""Entries of csrc/jit: they do not say how they were made, so what is likely is tried."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from warmup.kernels.digest import HASH_LINE, CsrcKeys
from warmup.kernels.rebuild_plan import (
    OTHER_HEADERS,
    UNKNOWN,
    Plan,
    Toolchain,
    add_job,
    get_name,
)

# nvcc releases that DeepGEMM takes (12.3 on), tried where the old one is not known.
_RELEASES = tuple(f"12.{n}" for n in (9, 8, 6, 5, 4, 3)) + tuple(f"13.{n}" for n in range(6))
_STANDARDS = (20, 17)


class CsrcEntries:
    """old_includes: where the package may have stood."""

    def __init__(self, new: Toolchain, old_includes: Sequence[Path]) -> None:
        self._new = new
        self._includes = list(dict.fromkeys([*old_includes, new.include]))
        self._last: CsrcKeys | None = None

    def add(self, plan: Plan, path: Path, target: Path) -> None:
        name, digest = get_name(path)
        code = (path / "kernel.cu").read_bytes()
        old = self._find(name, digest, code)
        if old is None:
            plan.skip(UNKNOWN, path.name)
            return
        new = CsrcKeys(self._new.include, self._new.release, old.standard, old.arch)
        if not _has_headers_of(code, new):
            plan.skip(OTHER_HEADERS, path.name)
            return
        entry = target / "cache" / f"kernel.{name}.{new.get_digest(name, code)}"
        flags = new.flags.split(" ")
        argv = [self._new.nvcc, "{folder}/kernel.cu", "-cubin", "-o", "{folder}/kernel.cubin"]
        add_job(plan, path, entry, code, [*argv, *flags], {})

    def _find(self, name: str, digest: str, code: bytes) -> CsrcKeys | None:
        if self._last is not None and self._last.get_digest(name, code) == digest:
            return self._last
        releases = list(dict.fromkeys([self._new.release, *_RELEASES]))
        archs = ("90a",) if name.startswith("sm90") else ("90a", "100f", "100a")
        for include, release, standard, arch in itertools.product(
            self._includes, releases, _STANDARDS, archs
        ):
            keys = CsrcKeys(include, release, standard, arch)
            if keys.get_digest(name, code) == digest:
                self._last = keys
                return keys
        return None


def _has_headers_of(code: bytes, keys: CsrcKeys) -> bool:
    """Whether the hash in the first line is that of the installed package's headers."""
    line = HASH_LINE.match(code)
    if line is None:
        return False
    try:
        return keys.get_include_hash(code[line.end() :]) == line.group(1).decode()
    except OSError:
        return False
