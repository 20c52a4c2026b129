"""One server under its shim, as the orchestrator sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from warmup.supervise.tree import clear, cookie, proc
from warmup.supervise.tree.spawn import ShimEnds

_CANCELLED_GRACE_S = 2.0  # GitHub's runner kills us 10 s after its SIGINT
_SHIM_SLACK_S = clear.DEADLINE_S + 5.0  # what a shim may take beyond the grace
_SHIM_EXIT_S = 5.0
_POLL_S = 0.1


@dataclass(frozen=True)
class StopReport:
    """killed: processes that SIGKILL had to end. survivors: descriptions of those it could not."""

    seconds: float
    killed: int
    survivors: tuple[str, ...] = ()


class Waiter(Protocol):
    """What a server needs of its supervisor."""

    def wait(self, timeout_s: float) -> None:
        """Sleep, at most this long, until there is news."""

    def find_num_signals(self) -> int | None:
        """How many signals asked us to stop; None where nothing did."""


@dataclass
class Messages:
    """What the shim has said so far (warmup.supervise.tree.shim has the grammar)."""

    started: int | None = None
    failed: tuple[int, str] | None = None
    exit_status: int | None = None
    ended: tuple[int, tuple[str, ...]] | None = None
    closed: bool = False
    _rest: bytes = field(default=b"", repr=False)

    def feed(self, text: bytes) -> None:
        *lines, self._rest = (self._rest + text).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        if "started" in message:
            self.started = message["started"]
        elif "failed" in message:
            self.failed = (message["failed"], message["stage"])
        elif "exit" in message:
            self.exit_status = message["exit"]
        else:
            self.ended = (message["killed"], tuple(message["survivors"]))


class Server:
    """Made by `Supervisor.start` only. leader_pid: the command's own, 0 until it was executed."""

    def __init__(self, ends: ShimEnds, cookies: range, waiter: Waiter) -> None:
        self.leader_pid = 0
        self.messages = Messages()
        self.cookies = cookies
        self._shim = ends.process
        self._control = ends.control
        self._status = ends.status
        self._waiter = waiter
        self._report: StopReport | None = None
        os.set_blocking(ends.status, False)

    @property
    def shim_pid(self) -> int:
        return self._shim.pid

    @property
    def is_stopped(self) -> bool:
        return self._report is not None

    @property
    def fds(self) -> list[int]:
        """Readable when the shim has something to say or has died."""
        return [] if self.messages.closed or self.is_stopped else [self._status]

    def pump(self) -> None:
        """Take in what the shim has said; never waits."""
        while self.fds:
            try:
                text = os.read(self._status, 65536)
            except BlockingIOError:
                break
            if text:
                self.messages.feed(text)
            else:
                self.messages.closed = True
        self.leader_pid = self.messages.started or 0

    def find_exit(self) -> str | None:
        """None while the leader lives, else `exited with status 7` or `was killed by SIGKILL`.

        A leader that daemonized exits 0 while its workers serve: then it says so.
        """
        self.pump()
        status = self.messages.exit_status
        if status is None:
            if self.messages.ended is not None or self.is_stopped:
                return "was ended with its shim"
            return "lost its shim, which was killed" if self.messages.closed else None
        if os.WIFSIGNALED(status):
            return f"was killed by {_get_signal_name(os.WTERMSIG(status))}"
        code = os.WEXITSTATUS(status)
        num_left = 0 if code else len(self.list_pids())
        left = f", and {num_left} of its processes live on" if num_left else ""
        return f"exited with status {code}{left}"

    def list_pids(self) -> list[int]:
        """Every living process of the tree, wherever it went; the shim excluded. About 12 µs per
        process of the host."""
        # Where nothing can be marked, what is below the shim: it is a subreaper, all come to it.
        if self.cookies:
            pids = cookie.list_bearers(self.cookies)
        else:
            pids = proc.list_descendants(self._shim.pid)
        return [pid for pid in pids if pid != self._shim.pid and proc.is_living(pid)]

    def stop(self, grace_s: float, on_poll: Callable[[], None] = lambda: None) -> StopReport:
        """End the whole tree: SIGTERM to the leader, `grace_s` seconds, SIGKILL to all the rest.

        The grace ends with the last process. When the run is cancelled it is 2 s at most, after a
        second signal none. A second call answers what the first did. on_poll: called ten times a
        second meanwhile.
        """
        if self._report is None:
            began = time.monotonic()
            self._ask_shim(grace_s, on_poll)
            shim_survivors = self._end_shim()
            num_killed, survivors = self.messages.ended or (0, ())
            # Nobody, unless the shim was killed: then its tree came to us, or lost its parents.
            rest = clear.end_bearers(self.cookies)
            for fd in (self._control, self._status):
                os.close(fd)
            self._report = StopReport(
                seconds=time.monotonic() - began,
                killed=num_killed + len(rest.killed),
                survivors=tuple(dict.fromkeys((*survivors, *rest.survivors, *shim_survivors))),
            )
        return self._report

    def _ask_shim(self, grace_s: float, on_poll: Callable[[], None]) -> None:
        """Until the shim says that it is done, has died, or is overdue (somebody stopped it)."""
        grace_ends = time.monotonic() + grace_s
        self._send_grace(grace_s)
        while self.messages.ended is None and not self.messages.closed:
            limit_s = _get_grace_limit(self._waiter.find_num_signals())
            if time.monotonic() + limit_s < grace_ends:
                grace_ends = time.monotonic() + limit_s
                self._send_grace(limit_s)
            left_s = grace_ends + _SHIM_SLACK_S - time.monotonic()
            if left_s <= 0:
                return
            self._waiter.wait(min(left_s, _POLL_S))
            self.pump()
            on_poll()

    def _send_grace(self, grace_s: float) -> None:
        self._shim.send_signal(signal.SIGCONT)  # a stopped one would cost all of the slack
        try:
            os.write(self._control, b"stop %.3f\n" % grace_s)
        except BrokenPipeError:
            return  # the shim has died; its tree has come to us

    def _end_shim(self) -> tuple[str, ...]:
        """Reap it; kill it first where it does not end by itself. What it leaves comes to us."""
        if self.messages.ended is not None:
            self._await_close()
        is_done = self.messages.ended is not None or self.messages.closed
        if self._has_ended(_SHIM_EXIT_S if is_done else 0):
            return ()
        self._shim.kill()
        return () if self._has_ended(_SHIM_EXIT_S) else (proc.describe(self._shim.pid),)

    def _await_close(self) -> None:
        """Its last descriptor goes as it ends; Popen would only look for that every 50 ms."""
        until = time.monotonic() + _SHIM_EXIT_S
        while not self.messages.closed and time.monotonic() < until:
            self._waiter.wait(until - time.monotonic())
            self.pump()

    def _has_ended(self, timeout_s: float) -> bool:
        try:
            self._shim.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True


def _get_grace_limit(num_signals: int | None) -> float:
    if num_signals is None:
        return float("inf")
    return _CANCELLED_GRACE_S if num_signals < 2 else 0.0


def _get_signal_name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
