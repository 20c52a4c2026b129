"""What both generations of DeepGEMM's cache share when an entry is compiled again."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from warmup.kernels.pool import Job
from warmup.words.errors import UsageError

UNKNOWN = "its key cannot be reproduced: another version of DeepGEMM, or of nvcc, or another place"
OTHER_HEADERS = "made with other headers than the installed package's"
ENTRY = re.compile(r"(?:kernel\.)?(\w+)\.([0-9a-f]{32})")
_RELEASE = re.compile(r"release (\d+\.\d+)")


@dataclass(frozen=True)
class Toolchain:
    """include: the package's, as the server will spell it. version: all of `nvcc --version`."""

    include: Path
    nvcc: str
    version: str

    @property
    def release(self) -> str:
        """`13.0`. Raises UsageError where nvcc does not say, or is older than DeepGEMM takes."""
        found = _RELEASE.search(self.version)
        if found is None:
            raise UsageError(f"{self.nvcc} does not tell its release", cause=self.version[:200])
        major, minor = (int(part) for part in found.group(1).split("."))
        if (major, minor) < (12, 3):
            raise UsageError(
                f"nvcc {major}.{minor} is too old for DeepGEMM",
                hint="12.3 is the oldest, 12.9 good",
            )
        return found.group(1)


@dataclass
class Plan:
    """jobs: what must be compiled. valid: entries that the new environment takes as they are.

    skipped: reason → entries that cannot be carried over.
    """

    jobs: list[Job] = field(default_factory=list)
    valid: list[str] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=dict)

    def skip(self, reason: str, entry: str) -> None:
        self.skipped.setdefault(reason, []).append(entry)


def get_name(path: Path) -> tuple[str, str]:
    """An entry's kernel and digest."""
    found = ENTRY.fullmatch(path.name)
    assert found is not None
    return found.group(1), found.group(2)


def add_job(
    plan: Plan, path: Path, entry: Path, code: bytes, argv: list[str], files: dict[str, str]
) -> None:
    """Plan the entry's compilation, unless it is there. files: others of the entry → text."""
    if (entry / "kernel.cubin").is_file():
        plan.valid.append(entry.name)
        return
    payload = {
        "entry": str(entry),
        "source": code.decode("utf-8", "surrogateescape"),
        "argv": argv,
        "files": files,
    }
    plan.jobs.append(Job(path.name, payload, cost=float(len(code))))
