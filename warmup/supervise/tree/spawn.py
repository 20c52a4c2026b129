"""Starting a shim: its pipes, its job, and what it must not inherit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from warmup.supervise.tree import shim
from warmup.supervise.tree.cgroup import NO_GROUP, ControlGroup


@dataclass(frozen=True)
class Attached:
    """A command that keeps our session, streams, descriptors and folder.

    process_group: what it joins. ignored: signals that it finds ignored.
    """

    process_group: int
    ignored: tuple[int, ...] = ()


@dataclass(frozen=True)
class Command:
    """What the leader executes. env: its whole environment. cwd: unused where it is attached.

    kill_timeout_s: how long to try to end what SIGKILL does not end at once. max_processes: of the
    server's user, as RLIMIT_NPROC counts them: each thread is one, those of its other programs too,
    and root is free of it. 0 leaves the limit as it is. group: what all are put into.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    kill_timeout_s: float
    max_processes: int = 0
    group: ControlGroup = NO_GROUP
    attached: Attached | None = None

    def encode(self) -> bytes:
        """Strings as bytes in latin-1: the shim may not read our locale as we do."""

        def encode(text: str) -> str:
            return os.fsencode(text).decode("latin-1")

        job = {
            "argv": [encode(word) for word in self.argv],
            "env": {encode(name): encode(value) for name, value in self.env.items()},
            "cwd": encode(str(self.cwd)),
            "kill_timeout_s": self.kill_timeout_s,
            "max_processes": self.max_processes,
            "group": encode(self.group.path),
            "attached": None if self.attached is None else asdict(self.attached),
        }
        return json.dumps(job).encode()


@dataclass(frozen=True)
class ShimEnds:
    """Our ends of a shim: write to `control`, read from `status`; the holder closes them."""

    process: subprocess.Popen[bytes]
    control: int
    status: int


def spawn_shim(command: Command, cookie: int, log: int | None) -> ShimEnds:
    """Start it; its leader is forked a moment later.

    log: descriptor, which stays the caller's; None for a command that is attached.
    Raises OSError where no process can be had.
    """
    with ExitStack() as ours, ExitStack() as theirs:
        job = _open_job(command.encode())
        theirs.callback(os.close, job)
        control_read, control = os.pipe()
        theirs.callback(os.close, control_read)
        ours.callback(os.close, control)
        status, status_write = os.pipe()
        theirs.callback(os.close, status_write)
        ours.callback(os.close, status)
        fds = (job, control_read, status_write)
        process = _popen(cookie, fds, _get_streams(log, fds))
        ours.pop_all()
    return ShimEnds(process, control, status)


def _get_streams(log: int | None, fds: tuple[int, ...]) -> dict[str, Any]:
    """Popen's words for what the shim inherits."""
    if log is not None:
        streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        return {**streams, "pass_fds": fds, "start_new_session": True}
    for fd in fds:  # beside all that our caller left open for us: `<(…)`, a jobserver's pipe
        os.set_inheritable(fd, True)
    return {"close_fds": False}


def _popen(
    cookie: int, fds: tuple[int, ...], streams: Mapping[str, Any]
) -> subprocess.Popen[bytes]:
    words = [os.getpid(), cookie, *fds]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", shim.__file__, *(str(word) for word in words)],
        # At the end of a job the runner kills whatever carries this: not the shim, of all.
        env={k: v for k, v in os.environ.items() if k != "RUNNER_TRACKING_ID"},
        **streams,
    )


def _open_job(text: bytes) -> int:
    """A descriptor to read it from: there are secrets in it, so it has no name and no disk."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("warmup-ci-job")
    else:  # a Python built against an old C library
        import tempfile

        with tempfile.TemporaryFile() as unnamed:
            fd = os.dup(unnamed.fileno())
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(text)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
