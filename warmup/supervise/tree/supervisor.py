"""The orchestrator's half of supervision: one `Supervisor` per run, one `Server` per launch.

Order matters (each step was learnt from a leak): watch for cancels → subreaper → run.lock →
durable ledger → log file → pipes → shim. The shim holds the tree, this process holds the shim;
where the shim is killed the tree comes up to this process, and where both are, `reap` finds it by
its cookie.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from warmup.supervise.cancel import CancelWatch
from warmup.supervise.tree import cookie, exec_error, kernel, ledger
from warmup.supervise.tree.cgroup import ControlGroup, find_parent
from warmup.supervise.tree.guarantees import find_missing_guarantees
from warmup.supervise.tree.segments import LeakWatch
from warmup.supervise.tree.server import Server, StopReport
from warmup.supervise.tree.spawn import Attached, Command, spawn_shim
from warmup.supervise.tree.timing import DEADLINE_S
from warmup.words.errors import Cancelled, HostError, WarmupError
from warmup.words.files import Folder
from warmup.words.locks import create_lock, try_lock

__all__ = ["Server", "StopReport", "Supervisor", "find_missing_guarantees"]

_START_TIMEOUT_S = 60.0  # a shim is up in 30 ms; a folder on a hung NFS server is not
_EXIT_GRACE_S = 2.0
_LOCK_PATIENCE_S = 0.5


class Supervisor:
    """Owns every server of one run; single-threaded, on the main thread.

    run_dir: `runs/<run id>`, made if missing. warn: told of guarantees that this host cannot give,
    and of what a server did that it should not. kill_timeout_s: how long to try to end what SIGKILL
    does not end at once.
    """

    def __init__(
        self, run_dir: Path, *, warn: Callable[[str], None], kill_timeout_s: float = DEADLINE_S
    ) -> None:
        self._run_dir = run_dir
        self.warn = warn
        self._kill_timeout_s = kill_timeout_s
        self._cancel = CancelWatch()
        self._servers: list[Server] = []
        self._cookie = 0
        self._stack = ExitStack()

    def __enter__(self) -> Supervisor:
        """Raises HostError where the run folder is in use or cannot be written."""
        if not sys.platform.startswith("linux"):
            raise HostError("servers are supervised on Linux only", cause=f"this is {sys.platform}")
        with ExitStack() as stack:
            self._cancel.open()
            stack.callback(self._cancel.close)
            stack.callback(kernel.set_subreaper, kernel.is_subreaper())
            kernel.set_subreaper(True)
            for sentence in find_missing_guarantees():
                self.warn(sentence)
            self._open_ledger(stack)
            self._stack = stack.pop_all()
        return self

    def _open_ledger(self, stack: ExitStack) -> None:
        self._cookie = cookie.find_new_cookie() or 0
        try:
            self._folder = stack.enter_context(Folder.open(self._run_dir, create=True))
            lock = create_lock(self._folder, ledger.LOCK_NAME) or try_lock(
                self._folder, ledger.LOCK_NAME, patience_s=_LOCK_PATIENCE_S
            )
            if lock is None:
                raise HostError(f"another process works in {self._run_dir}")
            stack.enter_context(lock)
            self._ledger = ledger.Ledger(
                run_id=self._run_dir.name,
                boot_id=ledger.get_boot_id(),
                pid_namespace=ledger.get_pid_namespace(),
                cookie=self._cookie,
                cgroup_parent=find_parent(),
                orchestrator=ledger.get_process(os.getpid()),
            )
            ledger.write(self._folder, self._ledger)
        except OSError as error:
            raise HostError(
                f"cannot keep the run's ledger in {self._run_dir}",
                cause=error.strerror or str(error),
                hint="free some space, or set WARMUP_CI_HOME to a writable folder",
            ) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End every server that was not stopped, mark the ledger, give the handlers back."""
        with self._stack:
            for server in self._servers:
                server.stop(_EXIT_GRACE_S)
                server.remove_group()
            survivors = self.list_survivors()
            for survivor in survivors:
                self.warn(f"a process of this run could not be ended: {survivor}")
            if not survivors:
                self._record(finished=True)

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log_path: Path,
        max_processes: int = 0,
    ) -> Server:
        """Start a server; returns once its command is executing.

        env: the whole environment, taken as it is but for SPT_NOENV=1, which keeps setproctitle
        from wiping it. stdout and stderr go to log_path, a file that is made now; stdin is empty.
        max_processes: RLIMIT_NPROC of the server; 0 leaves it as it is.
        Raises WarmupError where the command cannot be executed, Cancelled where we are told to end,
        and HostError where processes of an earlier server still run, or the log cannot be made.
        """
        if max_processes and os.geteuid() == 0:
            self.warn("max_processes has no effect: the kernel does not limit root's processes")
        env = {"SPT_NOENV": "1", **env}
        command = Command(argv, env, cwd, self._kill_timeout_s, max_processes)
        return self._start(command, log_path)

    def attach(
        self, argv: Sequence[str], *, env: Mapping[str, str], ignored: Collection[int]
    ) -> Server:
        """Start a command that keeps our terminal, streams, folder and process group.

        Its tree ends with it, without being told. ignored: signals that it finds ignored. Raises
        what `start` raises.
        """
        attached = Attached(os.getpgrp(), tuple(map(int, ignored)))
        command = Command(argv, env, Path(), self._kill_timeout_s, attached=attached)
        return self._start(command, None)

    def _start(self, command: Command, log_path: Path | None) -> Server:
        exec_error.check_command(command.argv, command.env)
        self._check_nobody_is_left()
        server = self._spawn(command, log_path)
        entry = ledger.ServerEntry(ledger.get_process(server.shim_pid))
        self._record(servers=(*self._ledger.servers, entry))
        try:
            self._await_leader(server, log_path)
        except BaseException:
            server.stop(0)
            raise
        if server.messages.failed is not None:
            server.stop(0)
            failed = server.messages.failed
            raise exec_error.get_exec_error(*failed, command.argv, command.env, command.cwd)
        entry = ledger.ServerEntry(entry.shim, ledger.get_process(server.leader_pid))
        self._record(servers=(*self._ledger.servers[:-1], entry))
        return server

    def _check_nobody_is_left(self) -> None:
        survivors = self.list_survivors()
        if survivors:
            raise HostError(
                "processes of an earlier server still run",
                cause="; ".join(survivors),
                hint="no server is started beside them; `warmup-ci reap` ends what can be ended",
            )

    def _spawn(self, command: Command, log_path: Path | None) -> Server:
        index = len(self._servers)
        cookies = cookie.get_server_cookies(self._cookie, index) if self._cookie else range(0)
        group = ControlGroup.get(self._ledger.cgroup_parent, cookies.start)
        # A user's command may mean to leave files in /dev/shm; a server that was stopped does not.
        segments = None if log_path is None else LeakWatch()
        try:
            log = None if log_path is None else self._create_log(log_path)
            try:
                ends = spawn_shim(replace(command, group=group), cookies.start, log)
            finally:
                if log is not None:
                    os.close(log)
        except OSError as error:
            cause = error.strerror or str(error)
            raise HostError(
                "cannot start a process", cause=cause, log=_to_text(log_path)
            ) from error
        timeout_s = self._kill_timeout_s
        server = Server(ends, cookies, self, group, segments, kill_timeout_s=timeout_s)
        self._servers.append(server)
        return server

    def find_dir_fd(self, folder: Path) -> int | None:
        """The run's folder as it was opened, whoever has its name since; None of another one."""
        return self._folder.fd if folder == self._run_dir else None

    def _create_log(self, path: Path) -> int:
        """A new file, never one that is there, and in the run's folder though it was renamed."""
        if self.find_dir_fd(path.parent) is not None:
            return self._folder.create_file(path.name, append=True)
        with Folder.open(path.parent) as folder:
            return folder.create_file(path.name, append=True)

    def _await_leader(self, server: Server, log_path: Path | None) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not server.leader_pid and server.messages.failed is None:
            if server.messages.closed or server.messages.fault or time.monotonic() >= deadline:
                raise WarmupError(
                    "cannot start the server",
                    cause="its supervisor process did not come up",
                    log=_to_text(log_path),
                )
            self.wait(deadline - time.monotonic())
            self.check_cancelled()

    def _record(
        self, *, servers: tuple[ledger.ServerEntry, ...] = (), finished: bool = False
    ) -> None:
        """Best effort: by now the ledger holds the cookie, and that is what `reap` goes by."""
        changed = replace(self._ledger, servers=servers or self._ledger.servers, finished=finished)
        self._ledger = changed
        try:
            ledger.write(self._folder, changed, durable=False)
        except OSError as error:
            self.warn(f"the ledger of {self._run_dir} could not be updated: {error}")

    def wait(self, timeout_s: float, more_fds: Iterable[int] = ()) -> None:
        """Sleep until a signal, the parent's death or news of a server; at most `timeout_s`.

        more_fds: others that end the sleep when they are readable. News is told once: look at
        `check_cancelled` and `Server.find_exit` before the next wait.
        """
        poll = select.poll()
        server_fds = (fd for server in self._servers for fd in server.fds)
        for fd in (*self._cancel.fds, *server_fds, *more_fds):
            poll.register(fd, select.POLLIN)
        poll.poll(max(0.0, timeout_s) * 1000)
        self._cancel.drain()
        for server in self._servers:
            server.pump()

    def list_shim_pids(self) -> list[int]:
        return [server.shim_pid for server in self._servers]

    def list_survivors(self) -> tuple[str, ...]:
        """Descriptions of the processes of stopped servers that live on, now."""
        return tuple(text for server in self._servers for text in server.list_survivors())

    def find_cancelled(self) -> Cancelled | None:
        """The signal that came, or our own parent's death (as a SIGTERM: 143)."""
        return self._cancel.find_reason()

    def check_cancelled(self) -> None:
        """Raises what `find_cancelled` finds."""
        reason = self.find_cancelled()
        if reason is not None:
            raise reason

    def find_num_signals(self) -> int | None:
        """How many signals asked us to end; None where neither they nor the parent's death did."""
        return None if self.find_cancelled() is None else self._cancel.num_signals


def _to_text(path: Path | None) -> str | None:
    return None if path is None else str(path)
