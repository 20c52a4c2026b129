"""One child of ours that warms one model, while others warm theirs.

The child supervises its server as a run of one model does, and dies with this process: the kernel
kills it (PR_SET_PDEATHSIG), whereupon its shim ends the server. What it tells comes as lines of
JSON; its own stderr goes to a file, so that nothing of two models is mixed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from warmup.supervise.tree import kernel
from warmup.words.errors import HostError


class Job:
    """errors: file for what it writes to stderr. Made by the main thread, which must live on."""

    def __init__(self, argv: Sequence[str], job: bytes, errors: Path) -> None:
        """Start it. job: what it reads from stdin. Raises HostError."""
        try:
            with errors.open("ab") as stderr:
                self._process = subprocess.Popen(
                    argv,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    start_new_session=True,  # a ^C is told once, by us
                )
        except OSError as error:
            raise HostError("cannot start a job", cause=error.strerror) from error
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdout = self._process.stdout
        os.set_blocking(self._stdout.fileno(), False)
        self._rest = b""
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(job)

    @property
    def fds(self) -> list[int]:
        """Readable when it has something to say, or has ended."""
        return [] if self._stdout.closed else [self._stdout.fileno()]

    def read_lines(self) -> list[bytes]:
        """What it has said since the last call; never waits."""
        while self.fds:
            try:
                text = os.read(self._stdout.fileno(), 1 << 16)
            except BlockingIOError:
                break
            if not text:
                self._stdout.close()
            self._rest += text
        *lines, self._rest = self._rest.split(b"\n")
        return lines

    def find_exit(self) -> str | None:
        """None while it lives, else `exited with status 0` or `was killed by signal 9`."""
        status = self._process.poll()
        if status is None:
            return None
        return f"exited with status {status}" if status >= 0 else f"was killed by signal {-status}"

    def send_signal(self, signum: int) -> None:
        self._process.send_signal(signum)

    def kill(self) -> None:
        """End it at once, and reap it; its server is its shim's to end, or `reap_run`'s."""
        self._process.kill()
        self._process.wait()
        self.read_lines()
        self._stdout.close()


def die_with(parent: int) -> bool:
    """Called in the job: be killed when `parent` ends. False where it has ended already."""
    kernel.set_death_signal(signal.SIGKILL)
    return os.getppid() == parent
