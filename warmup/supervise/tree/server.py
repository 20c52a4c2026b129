"""One server under its shim, as the orchestrator sees it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from warmup.supervise.tree import clear, cookie, kernel, oom, proc
from warmup.supervise.tree.cgroup import ControlGroup
from warmup.supervise.tree.exits import ExitKind, LeaderExit
from warmup.supervise.tree.members import Orphans, describe_all
from warmup.supervise.tree.messages import Messages
from warmup.supervise.tree.segments import LeakWatch
from warmup.supervise.tree.spawn import ShimEnds
from warmup.supervise.tree.timing import DEADLINE_S

_CANCELLED_GRACE_S = 2.0  # GitHub's runner kills us 10 s after its SIGINT
_SHIM_SLACK_S = 5.0  # what a shim may take beyond the grace and the time to end its tree
_SHIM_EXIT_S = 5.0
_RETRY_S = 1.5  # for what a shim has already tried to end for long
_POLL_S = 0.1


@dataclass(frozen=True)
class StopReport:
    """killed: processes that SIGKILL had to end. survivors: descriptions of those it could not.

    is_grace_over: the leader did not end by itself, so it was among the killed.
    """

    seconds: float
    killed: int
    survivors: tuple[str, ...] = ()
    is_grace_over: bool = False


class ServerOwner(Protocol):
    """What a server needs of its supervisor."""

    def wait(self, timeout_s: float) -> None:
        """Sleep, at most this long, until there is news."""

    def find_num_signals(self) -> int | None:
        """How many signals asked us to stop; None where nothing did."""

    def list_shim_pids(self) -> list[int]:
        """Children of this process that are the shims of its servers."""

    def warn(self, text: str) -> None:
        """Tell the user what a server did that it should not."""


class Server:
    """Made by `Supervisor.start` only. leader_pid: the command's own, 0 until it was executed."""

    def __init__(
        self,
        ends: ShimEnds,
        cookies: range,
        waiter: ServerOwner,
        group: ControlGroup,
        segments: LeakWatch | None,
        *,
        kill_timeout_s: float = DEADLINE_S,
    ) -> None:
        self.leader_pid = 0
        self._group = group
        self._segments = segments
        self._kill_timeout_s = kill_timeout_s
        self._num_oom_kills = oom.find_num_kills()
        shim = proc.find_stat(ends.process.pid)
        self._orphans = Orphans(0 if shim is None else shim.start, waiter.list_shim_pids)
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
        if self._segments and not self.is_stopped:
            self._segments.look(self.list_pids)

    @property
    def has_ended(self) -> bool:
        """Whether the shim has nothing more to say: its tree is ended, or it died itself."""
        return self.messages.ended is not None or self.messages.closed

    def signal(self, signum: int) -> None:
        """To the leader, by its parent, the shim: nothing happens where it has ended."""
        self._tell_shim(b"signal %d\n" % signum)

    def find_exit(self) -> LeaderExit | None:
        """How the leader ended; None while it lives."""
        self.pump()
        if self.messages.fault is not None:
            return LeaderExit(ExitKind.BROKE_SHIM, detail=self.messages.fault)
        status = self.messages.exit_status
        if status is None:
            if self.messages.ended is not None or self.is_stopped:
                return LeaderExit(ExitKind.ENDED_BY_US)
            return LeaderExit(ExitKind.LOST_SHIM) if self.messages.closed else None
        if os.WIFSIGNALED(status):
            is_oom = _is_killed(status) and self._has_oom_killer_struck()
            return LeaderExit(ExitKind.KILLED, status, is_oom=is_oom)
        num_left = 0 if status else len(self.list_pids())
        return LeaderExit(ExitKind.EXITED, status, num_left)

    def _has_oom_killer_struck(self) -> bool:
        before, now = self._num_oom_kills, oom.find_num_kills()
        return None not in (before, now) and before != now and not self.is_stopped

    def list_survivors(self) -> tuple[str, ...]:
        """Descriptions of the processes that live on though `stop` has returned."""
        if self._report is None or not self._report.survivors:
            return ()
        pids = [self._shim.pid, *self.list_pids(), *self._orphans.list_pids()]
        return describe_all([pid for pid in dict.fromkeys(pids) if proc.is_living(pid)])

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
            with kernel.raised_priority():
                self._report = self._stop(grace_s, on_poll)
        return self._report

    def _stop(self, grace_s: float, on_poll: Callable[[], None]) -> StopReport:
        began = time.monotonic()
        self.pump()
        if self._segments:
            self._segments.look(self.list_pids, is_due=True)
        has_lived = self.messages.exit_status is None
        self._ask_shim(grace_s, on_poll)
        shim_survivors = self._end_shim()
        num_killed, _ = self.messages.ended or (0, ())
        rest = self._end_rest()
        self.remove_group()
        if self._segments:
            self._segments.remove()
        for fd in (self._control, self._status):
            os.close(fd)
        status = self.messages.exit_status
        return StopReport(
            seconds=time.monotonic() - began,
            killed=num_killed + len(rest.killed),
            survivors=tuple(dict.fromkeys((*rest.survivors, *shim_survivors))),
            is_grace_over=has_lived and status is not None and _is_killed(status),
        )

    def remove_group(self) -> None:
        """Again at the run's end: it stays as long as a survivor is in it."""
        self._group.remove()

    def _end_rest(self) -> clear.Ended:
        """Nobody, unless the shim was killed or gave up: then its tree came to us, a subreaper.

        Whatever came is ended, whether or not it still wears its cookie.
        """
        has_survivors = self.messages.ended is not None and bool(self.messages.ended[1])
        is_lost = self._shim.returncode != 0
        has_gone_well = not (is_lost or has_survivors or self.messages.fault)
        rest = clear.end_bearers(
            self.cookies,
            groups=(self._group,),
            list_orphans=list if has_gone_well else self._orphans.list_pids,
            timeout_s=_RETRY_S if has_survivors else self._kill_timeout_s,
        )
        if is_lost:
            num = len(rest.killed)
            self._waiter.warn(
                f"the shim of process {self.leader_pid or '?'} did not end its server;"
                f" {num} processes that it left were ended by the run itself"
            )
        return rest

    def _ask_shim(self, grace_s: float, on_poll: Callable[[], None]) -> None:
        """Until the shim says that it is done, has died, or is overdue (somebody stopped it)."""
        grace_ends = time.monotonic() + grace_s
        self._send_grace(grace_s)
        while not (self.messages.ended or self.messages.closed or self._shim.poll() is not None):
            limit_s = _get_grace_limit(self._waiter.find_num_signals())
            if time.monotonic() + limit_s < grace_ends:
                grace_ends = time.monotonic() + limit_s
                self._send_grace(limit_s)
            left_s = grace_ends + self._kill_timeout_s + _SHIM_SLACK_S - time.monotonic()
            if left_s <= 0:
                return
            self._waiter.wait(min(left_s, _POLL_S))
            self.pump()
            on_poll()

    def _send_grace(self, grace_s: float) -> None:
        self._shim.send_signal(signal.SIGCONT)  # a stopped one would cost all of the slack
        self._tell_shim(b"stop %.3f\n" % grace_s)

    def _tell_shim(self, line: bytes) -> None:
        try:
            os.write(self._control, line)
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


def _is_killed(status: int) -> bool:
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
