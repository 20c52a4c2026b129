"""One owner per mechanism (design.md, section 9): each is named here, and a second one fails.

A mechanism is found by what its code cannot do without. Its owner may be one file, or the few that
stand on floors that cannot see each other: each exception says why.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "warmup"


@dataclass(frozen=True)
class Mechanism:
    """what: it does. pattern: a line that only an owner has. owners: files or folders of ours."""

    what: str
    pattern: str
    owners: tuple[str, ...]


# Programs for an interpreter that lacks our package: started by their path, they import nothing.
_PROGRAMS = ("kernels/worker.py", "kernels/nvcc_jobs.py", "engine/kernels/deep_gemm_jobs.py")

MECHANISMS = (
    Mechanism("locks between processes", r"\bflock\(|import filelock", ("words/locks.py",)),
    Mechanism(
        "pidfd, prctl, libc",
        r"pidfd_open|\bprctl\b|ctypes\.CDLL",
        # The last loads libcuda, not libc.
        (
            "supervise/tree/kernel.py",
            "supervise/log/file.py",
            "engine/orphans.py",
            "target/capture.py",
        ),
    ),
    Mechanism(
        "opening what may be hostile",
        r"O_NOFOLLOW|O_NONBLOCK",
        (
            "words/files.py",
            "words/output_file.py",
            "words/locks.py",
            "supervise/log/file.py",
            "engine/shm/segment.py",
        ),
    ),
    Mechanism("escaping for people", r"unicode_escape", ("words/escape.py",)),
    Mechanism("what a secret is", r"PASSW|CREDENTIAL", ("words/secrets.py",)),
    Mechanism(
        "faces that load on demand", r"getattr\(importlib\.import_module\(f", ("words/lazy.py",)
    ),
    Mechanism("canonical JSON", r'order="sorted"|sort_keys', ("words/encoding.py",)),
    Mechanism("nvcc's version", r"\brelease \(|nvcc.*--version", ("state/nvcc.py",)),
    Mechanism(
        "parsing server arguments",
        r'partition\("="\)',
        ("launch/arguments.py", "cli.py"),  # the command line's own `--models=A B`
    ),
    Mechanism(
        "a model's config.json",
        r'"config\.json"',
        ("launch", "kernels/config.py", "engine"),  # kernels names it; launch/folder.py reads it
    ),
    Mechanism("progress bars", r"from rich|import rich", ("report/terminal.py",)),
    # Text for another interpreter prints its answer; the engine is a program of its own.
    Mechanism(
        "writing lines",
        r"(?<![\w.])print\(",
        ("engine", "state/interpreter.py", "launch/hub_fetch.py"),
    ),
    Mechanism(
        "HTTP with a server",
        r"import requests|http\.client|urllib\.request",
        # The engine is a program of its own; a registry is not a server that we started.
        ("supervise/watch/exchange.py", "engine", "packs/client.py"),
    ),
    Mechanism("ending a whole group", r"\bkillpg\(", ("supervise/job.py",)),
    Mechanism("a port that is free", r"AF_UNIX", ("supervise/ports.py",)),
    Mechanism(
        "boot and pid namespace", r"/proc/sys/kernel/random/boot_id", ("supervise/tree/ledger.py",)
    ),
    Mechanism(
        "where our package stands",
        r"\.name (not )?in \(?(_INSTALLED|\"site)",
        ("words/program.py",),
    ),
    Mechanism("mounts", r"mountinfo|mnt_id", ("words/mounts.py", "words/files.py")),
    Mechanism(
        "where the cache home is",
        r'get\("XDG_CACHE_HOME"|\["XDG_CACHE_HOME"\]',
        ("words/locations.py",),
    ),
)


def iter_lines(package: Path) -> Iterator[tuple[str, int, str]]:
    """Lines of code; comments and docstrings may speak of anything."""
    for path in sorted(package.rglob("*.py")):
        in_text = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            quotes = line.count('"""')
            if not in_text and quotes == 0:
                yield str(path.relative_to(package)), number, line.partition("  # ")[0]
            in_text ^= quotes % 2 == 1


def find_second_owners(mechanism: Mechanism, package: Path) -> list[str]:
    pattern = re.compile(mechanism.pattern)
    return [
        f"{name}:{number}"
        for name, number, line in iter_lines(package)
        if pattern.search(line) and not line.lstrip().startswith("#")
        if not any(
            name == owner or name.startswith(f"{owner}/")
            for owner in (*mechanism.owners, *_PROGRAMS)
        )
    ]


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda each: each.what)
def test_a_mechanism_has_one_owner(mechanism: Mechanism) -> None:
    assert find_second_owners(mechanism, PACKAGE) == []


@pytest.mark.parametrize("mechanism", MECHANISMS, ids=lambda each: each.what)
def test_owners_are_there_and_own_it(mechanism: Mechanism) -> None:
    """An owner that moved, or that lost its mechanism, must not leave the rule without meaning."""
    pattern = re.compile(mechanism.pattern)
    for owner in mechanism.owners:
        path = PACKAGE / owner
        files = [path] if path.is_file() else list(path.rglob("*.py"))
        assert files, owner
        assert any(pattern.search(file.read_text()) for file in files), owner


def test_this_test_can_fail(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "locks.py").write_text("fcntl.flock(fd, 1)\n")
    (tmp_path / "state.py").write_text('"""flock( in words."""\nx = 1\nfcntl.flock(fd, 1)\n')
    assert find_second_owners(MECHANISMS[0], tmp_path) == ["state.py:3"]
