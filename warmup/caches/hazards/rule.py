"""What a hazard is: a known way in which a JIT cache lies, hangs or is not safe to load.

A rule looks at one root of one family and yields findings. It never changes anything; a rule that
can be repaired has a `repair`, which looks again before it acts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec

from warmup.caches.family import Env, Family
from warmup.caches.libraries import Libraries
from warmup.caches.walk import File, RootSnapshot
from warmup.words.escape import from_text, to_line, to_text
from warmup.words.files import open_regular
from warmup.words.tree import Tree

# A note is worth knowing and no reason to fail: `audit` exits 0 if there is nothing else.
Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the host says, to hold caches against; "" and () where it says nothing.

    deep_gemm_includes: include folders of the installed DeepGEMM packages. cuda_home: as spelled.
    capabilities: compute capabilities of the GPUs, such as `9.0`. packages: folders where the
    servers' interpreters look for packages.
    """

    env: Env
    deep_gemm_includes: tuple[str, ...] = ()
    cuda_home: str = ""
    capabilities: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    @cached_property
    def libraries(self) -> Libraries:
        return Libraries(self.env, self.cuda_home, self.packages)


@dataclass(frozen=True)
class Scope:
    """What a rule looks at: one root of one family."""

    family: Family
    found: RootSnapshot
    facts: Facts

    def get_kernel(self, entry: str) -> str:
        names = [file.name for file in self.found.entries.get(entry, [])]
        return self.family.get_kernel(Path(self.found.root), entry, names)

    def open_file(self, path: str | Path) -> int:
        """A regular file below the root by its absolute path; no link on the way is followed.

        Raises OSError.
        """
        dir_fd, name = self._tree.locate(str(path).removeprefix(f"{self.found.root}/"))
        return open_regular(name, dir_fd=dir_fd)

    def close(self) -> None:
        """Give back the folders that `open_file` keeps open."""
        if "_tree" in vars(self):
            self._tree.close()

    @cached_property
    def _tree(self) -> Tree:
        return Tree(self.found.root)

    def iter_files(self, suffix: str) -> Iterator[tuple[str, File, str]]:
        """(entry, file, absolute path) of each file whose name has this suffix."""
        prefix = f"{self.found.root}/"
        for entry, files in self.found.entries.items():
            for file in files:
                if (file.name or entry).endswith(suffix):
                    path = prefix + entry
                    yield entry, file, f"{path}/{file.name}" if file.name else path


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One hazard found. entry: "" where it is the root's. path: `root`, or below it.

    root, path: absolute; these two, entry and kernel are as `escape.to_text`. message: one line
    for a human. is_repairable: `audit --fix` can do away with this one.
    """

    rule: str
    severity: Severity
    family: str
    root: str
    path: str
    entry: str = ""
    kernel: str = ""
    message: str
    is_repairable: bool = False

    @property
    def relative(self) -> str:
        """The file's name below the root, as the file system has it; "" for the root itself."""
        return from_text(self.path[len(self.root) + 1 :])


@dataclass(frozen=True, kw_only=True)
class Rule:
    """id: in findings and SARIF. summary: one line. link: the upstream bug that taught it.

    repair: does away with one finding and says what it did; None where only a human can. Raises
    OSError. fix: what `repair` does, in words. before_run: whether `run` repairs it unasked,
    since no process can need it as it is. is_half: whether the finding's entry is, on a second
    look, a half that a killed writer left; `run` puts it aside. None where nothing can be one.
    """

    id: str
    severity: Severity
    summary: str
    link: str
    repair: Callable[[Finding], str] | None = None
    fix: str = ""
    before_run: bool = False
    is_half: Callable[[Finding], bool] | None = None

    def make_finding(
        self,
        scope: Scope,
        path: str,
        message: str,
        *,
        entry: str = "",
        is_repairable: bool | None = None,
    ) -> Finding:
        """A finding of this rule; repairable if the rule is, unless said otherwise."""
        can = self.repair is not None if is_repairable is None else is_repairable
        return Finding(
            rule=self.id,
            severity=self.severity,
            family=scope.family.name,
            root=to_text(scope.found.root),
            path=to_text(path),
            entry=to_text(entry),
            kernel=to_text(scope.get_kernel(entry)) if entry else "",
            message=to_line(message),
            is_repairable=can,
        )


@dataclass(frozen=True)
class RuleGroup:
    """Rules that one look at a root answers. check: yields findings of any of them."""

    rules: tuple[Rule, ...]
    families: tuple[str, ...]
    check: Callable[[Scope], Iterator[Finding]]
