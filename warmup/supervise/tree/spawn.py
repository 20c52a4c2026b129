"""Starting a shim: its pipes, its job, the log file, and what it must not inherit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from warmup.supervise.tree import shim
from warmup.words.errors import HostError


@dataclass(frozen=True)
class Command:
    """What the leader executes. env: its whole environment."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log_path: Path

    def encode(self) -> bytes:
        """Strings as bytes in latin-1: the shim may not read our locale as we do."""

        def encode(text: str) -> str:
            return os.fsencode(text).decode("latin-1")

        job = {
            "argv": [encode(word) for word in self.argv],
            "env": {encode(name): encode(value) for name, value in self.env.items()},
            "cwd": encode(str(self.cwd)),
        }
        return json.dumps(job).encode()


@dataclass(frozen=True)
class ShimEnds:
    """Our ends of a shim: write to `control`, read from `status`; the holder closes them."""

    process: subprocess.Popen[bytes]
    control: int
    status: int


def spawn_shim(command: Command, cookie: int) -> ShimEnds:
    """Start it; its leader is forked a moment later. Raises HostError (no process, no log file)."""
    with ExitStack() as ours, ExitStack() as theirs:
        try:
            job = _open_job(command.encode())
            theirs.callback(os.close, job)
            control_read, control = os.pipe()
            theirs.callback(os.close, control_read)
            ours.callback(os.close, control)
            status, status_write = os.pipe()
            theirs.callback(os.close, status_write)
            ours.callback(os.close, status)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            log = os.open(command.log_path, flags, 0o600)
            theirs.callback(os.close, log)
            process = _popen(log, cookie, (job, control_read, status_write))
        except OSError as error:
            cause = error.strerror or str(error)
            where = str(command.log_path)
            raise HostError("cannot start a server", cause=cause, log=where) from error
        ours.pop_all()
    return ShimEnds(process, control, status)


def _popen(log: int, cookie: int, fds: tuple[int, int, int]) -> subprocess.Popen[bytes]:
    words = [os.getpid(), cookie, *fds]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", shim.__file__, *(str(word) for word in words)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=fds,
        # At the end of a job the runner kills whatever carries this: not the shim, of all.
        env={k: v for k, v in os.environ.items() if k != "RUNNER_TRACKING_ID"},
        start_new_session=True,
    )


def _open_job(text: bytes) -> int:
    """A descriptor to read it from: there are secrets in it, so it has no name and no disk."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("warmup-ci-job")
    else:  # a Python built against an old C library
        with tempfile.TemporaryFile() as unnamed:
            fd = os.dup(unnamed.fileno())
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(text)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
