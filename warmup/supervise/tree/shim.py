"""The small process between `warmup-ci run` and one server: it outlives the one and ends the other.

Started by file path (`python -I -S shim.py`), so that it is up in milliseconds and the server's
environment cannot break it; for the same reason it, and what it imports, does without `typing` and
`dataclasses`. It is a subreaper in its own session, wears the run's cookie, forks the
leader, and ends the whole tree when it is told to, when its lifeline ends, or when its parent dies:
GitHub's runner kills the orchestrator alone. It never holds the step's stdout or stderr.

An *attached* leader (`exec`) keeps the caller's streams, descriptors, session and process group, so
that the terminal is its own; its tree ends with it. The shim is in a process group of its own then,
where no key of the terminal reaches it, and lets go of the streams once the leader has them.

Arguments: the parent's pid, the cookie (0: none), and the numbers of three descriptors.
  job      JSON {argv, env, cwd, kill_timeout_s, max_processes, group, attached}, read once; strings
           are bytes as latin-1; attached: null or {process_group, ignored}, signals as numbers
  control  lines `stop SECONDS`, a grace, or `signal NUMBER`, for the leader; end of file means that
           the orchestrator is gone
  status   we write JSON lines: {started} or {failed, stage}, {exit}, at last {killed, survivors}
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Set

if __name__ == "__main__":
    # `-I` leaves our own package off the path. Last, so that nothing in there hides a module.
    sys.path.append(os.path.abspath(__file__).rsplit(os.sep, 4)[0])  # noqa: PTH100

from warmup.supervise.tree import clear, cookie, kernel, proc, timing
from warmup.supervise.tree.cgroup import NO_GROUP, ControlGroup

TYPE_CHECKING = False  # see kernel.py
if TYPE_CHECKING:
    from typing import Any

_ORPHAN_GRACE_S = 0.5  # once the leader has ended, nobody will tell the others to end
_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# What a terminal sends to the group in which an attached shim is for its first milliseconds.
_KEYS = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP)


class Shim:
    """One server from fork to the last of its processes.

    parent: pid that must stay our parent. cookies: what the tree wears. is_attached: whether the
    leader keeps the terminal.
    """

    def __init__(
        self, parent: int, cookies: range, control: int, status: int, *, is_attached: bool = False
    ) -> None:
        self._parent = parent
        self._cookies = cookies
        self._kill_timeout_s = timing.DEADLINE_S
        self._group = NO_GROUP
        self._control = control
        self._status = status
        self._is_attached = is_attached
        self._wake, self._wake_end = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._wake_end, False)
        signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        for signum in (signal.SIGCHLD, *_ENDING_SIGNALS):
            signal.signal(signum, lambda *_: None)
        for signum in _KEYS if is_attached else ():
            signal.signal(signum, signal.SIG_IGN)
        self._parent_pidfd = _find_pidfd(parent)
        self._leader = 0
        self._leader_lives = False
        self._exec_pipe: int | None = None
        self._deadline: float | None = None
        self._is_ending = False

    def supervise(self, job: dict[str, Any]) -> None:
        """Everything after the fork stands in the try: what raises there must not leave a tree."""
        if os.getppid() != self._parent:
            return
        self._kill_timeout_s = job["kill_timeout_s"]
        try:
            self._group = ControlGroup(job["group"]).make()
            self._fork_leader(job)
            self._watch()
        finally:
            self._clear()

    def _fork_leader(self, job: dict[str, Any]) -> None:
        self._exec_pipe, exec_end = os.pipe()
        # Blocked until the child has reset them: a SIGTERM must not be lost in our own handler.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        own_pid = os.getpid()
        self._leader = os.fork()
        if self._leader == 0:
            self._group.enter()
            _become_leader(job, own_pid, exec_end)
        self._leader_lives = True
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.close(exec_end)
        if self._is_attached:
            own = (self._wake, self._wake_end, self._control, self._status, self._exec_pipe)
            _let_go({*own, self._parent_pidfd})

    def _watch(self) -> None:
        """Until there are no children, the grace is over, or we are to end at once."""
        while clear.reap_children(self._note_exit):
            poll = select.poll()
            for fd in (self._wake, self._control, self._parent_pidfd, self._exec_pipe):
                if fd is not None:
                    poll.register(fd, select.POLLIN)
            left_s = None if self._deadline is None else self._deadline - time.monotonic()
            if left_s is not None and left_s <= 0:
                return
            ready = {fd for fd, _ in poll.poll(None if left_s is None else left_s * 1000 + 1)}
            if self._parent_pidfd in ready or os.getppid() != self._parent:
                return
            if self._wake in ready and set(os.read(self._wake, 4096)) & set(_ENDING_SIGNALS):
                return
            if self._exec_pipe in ready:
                self._tell_exec()
            if self._control in ready and not self._obey(os.read(self._control, 4096)):
                return

    def _note_exit(self, pid: int, status: int) -> None:
        if pid != self._leader or not self._leader_lives:
            return
        self._leader_lives = False
        if self._exec_pipe is not None:  # it ended before we saw its exec
            self._tell_exec()
        self._say({"exit": status})
        if self._is_ending or self._is_attached:
            self._shorten(_ORPHAN_GRACE_S)

    def _tell_exec(self) -> None:
        """The exec pipe ended: empty, the exec worked; otherwise it holds why it did not."""
        assert self._exec_pipe is not None
        text = os.read(self._exec_pipe, 4096)
        os.close(self._exec_pipe)
        self._exec_pipe = None
        self._say(json.loads(text) if text else {"started": self._leader})

    def _obey(self, text: bytes) -> bool:
        """False where the orchestrator is gone, or somebody else wrote what we do not understand.

        Of several graces the first to end counts.
        """
        for line in text.splitlines():
            try:
                word, number = line.split()
                grace_s = float(number)
            except ValueError:
                return False
            if word == b"signal":
                if self._leader_lives:
                    _signal_child(self._leader, int(grace_s))
                continue
            if self._leader_lives and not self._is_ending:
                # A stopped leader hears the SIGTERM only when it goes on.
                _signal_child(self._leader, signal.SIGTERM)
                _signal_child(self._leader, signal.SIGCONT)
            elif not self._leader_lives:
                grace_s = 0.0
            self._is_ending = True
            self._shorten(grace_s)
        return bool(text)

    def _shorten(self, grace_s: float) -> None:
        deadline = time.monotonic() + grace_s
        self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)

    def _clear(self) -> None:
        if self._leader_lives and not proc.list_pids():
            _signal_child(self._leader, signal.SIGKILL)  # without /proc we know no other child
        num_killed, survivors = clear.end_children(
            self._note_exit,
            self._cookies,
            groups=(self._group,),
            timeout_s=self._kill_timeout_s,
        )
        self._group.remove()
        self._say({"killed": num_killed, "survivors": survivors})

    def _say(self, message: dict[str, Any]) -> None:
        try:
            os.write(self._status, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:
            return  # the orchestrator is gone, and the lifeline says so too


def _find_pidfd(pid: int) -> int | None:
    try:
        return kernel.find_pidfd(pid)
    except ProcessLookupError:
        return None  # the check of getppid, which follows, sees it


def _signal_child(pid: int, signum: int) -> None:
    """To a child that was not reaped: its number is its own. It may have changed user."""
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return


def _let_go(kept: Set[int | None]) -> None:
    """Close what only the leader is to hold: whoever reads a pipe waits for its last writer."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    for name in os.listdir("/proc/self/fd") if proc.list_pids() else ():  # noqa: PTH208 - as proc
        if int(name) > 2 and int(name) not in kept:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(int(name))


def _become_leader(job: dict[str, Any], parent: int, exec_end: int) -> None:
    """In the child: never returns. Says on `exec_end` what failed; left empty, nothing did."""
    stage = "start"
    try:
        kernel.set_death_signal(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(127)
        attached = job.get("attached")
        if attached:
            os.setpgid(0, attached["process_group"])
        else:
            os.setsid()
        for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            is_ignored = attached and signum in attached["ignored"]
            signal.signal(signum, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        if job["max_processes"]:
            hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
            limit = min(job["max_processes"], hard % (1 << 63))  # -1: without limit
            resource.setrlimit(resource.RLIMIT_NPROC, (limit, limit))
        stage = "cwd"
        if not attached:
            os.chdir(job["cwd"].encode("latin-1"))
        stage = "exec"
        argv = [word.encode("latin-1") for word in job["argv"]]
        env = {k.encode("latin-1"): v.encode("latin-1") for k, v in job["env"].items()}
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        os.write(exec_end, json.dumps({"failed": error.errno, "stage": stage}).encode())
    finally:
        os._exit(127)


def main(argv: list[str]) -> None:
    parent, own_cookie, job_fd, control, status = (int(word) for word in argv)
    for fd in (control, status):
        os.set_inheritable(fd, False)
    with open(job_fd, "rb") as file:  # noqa: PTH123 - a descriptor has no path
        job = json.loads(file.read())
    if job.get("attached"):
        os.setpgid(0, 0)
    kernel.set_subreaper(True)
    kernel.raise_priority()  # it sleeps, but must get its turn when its server has gone mad
    if own_cookie:
        cookie.wear(own_cookie)
    cookies = range(own_cookie, own_cookie + 1) if own_cookie else range(0)
    is_attached = bool(job.get("attached"))
    Shim(parent, cookies, control, status, is_attached=is_attached).supervise(job)


if __name__ == "__main__":
    main(sys.argv[1:])
    os._exit(0)  # nothing to flush, and the orchestrator waits for our end
