"""One child of ours that answers in lines: who warms one model beside others, who compiles kernels.

It leads a group of its own, which ends with it, and dies with this process (PR_SET_PDEATHSIG, by
`die_with` or the like). It answers on a descriptor of its own, so that nothing that a library or a
compiler prints is taken for an answer.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from warmup.supervise.tree import kernel
from warmup.words.errors import HostError

ANSWERS = "{answers}"
_END_TIMEOUT_S = 10.0


class Job:
    """argv: `ANSWERS` in it stands for the number of the descriptor to write to. output: file for
    what it prints. env, cwd: None for ours. Made by the main thread, which must live on."""

    def __init__(
        self,
        argv: Sequence[str],
        output: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start it. Raises HostError."""
        read, write = os.pipe()
        self._answers = os.fdopen(read, "rb", buffering=0)
        os.set_blocking(read, False)
        try:
            with output.open("ab") as file:
                self._process = subprocess.Popen(
                    [str(write) if each == ANSWERS else each for each in argv],
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=file,
                    env=env,
                    cwd=cwd,
                    pass_fds=(write,),
                    start_new_session=True,  # a ^C is told once, by us
                )
        except OSError as error:
            self._answers.close()
            raise HostError(f"cannot start {argv[0]}", cause=error.strerror) from error
        finally:
            os.close(write)
        self._rest = b""

    def send(self, text: bytes, *, is_last: bool = False) -> None:
        """To its stdin, which is closed after the last. One that died says so by its end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(text)
            self._process.stdin.flush()
        if is_last:
            self._close_input()

    def _close_input(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    @property
    def fds(self) -> list[int]:
        """Readable when it has something to say, or has ended; none once it can say no more."""
        return [] if self._answers.closed else [self._answers.fileno()]

    def read_lines(self) -> list[bytes]:
        """What it has said since the last call; never waits."""
        while self.fds:
            try:
                text = os.read(self._answers.fileno(), 1 << 16)
            except BlockingIOError:
                break
            if not text:
                self._answers.close()
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

    def kill(self) -> int:
        """End it at once with its whole group, and reap it; answers its exit status. A server of
        its own is not in that group: it is its shim's to end, or `reap_run`'s."""
        # The group's number cannot be another's while its leader is not reaped.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._close_input()
        self.read_lines()
        self._answers.close()
        try:
            return self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL  # stuck in the kernel: it ends when that lets it go


def die_with(parent: int) -> bool:
    """Called in the job: be killed when `parent` ends. False where it has ended already."""
    kernel.set_death_signal(signal.SIGKILL)
    return os.getppid() == parent
