"""The orchestrator's half of supervision: one `Supervisor` per run, one `Server` per launch.

Order matters (each step was learnt from a leak): watch for cancels → subreaper → run.lock →
durable ledger → pipes → log file → shim. The shim holds the tree, this process holds the shim;
where the shim is killed the tree comes up to this process, and where both are, `reap` finds it by
its cookie.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import msgspec

from warmup.supervise.cancel import CancelWatch
from warmup.supervise.tree import cookie, exec_error, kernel, ledger
from warmup.supervise.tree.guarantees import find_missing_guarantees
from warmup.supervise.tree.server import Server, StopReport
from warmup.supervise.tree.spawn import Command, spawn_shim
from warmup.words.errors import Cancelled, HostError, WarmupError

__all__ = ["Server", "StopReport", "Supervisor", "find_missing_guarantees"]

_START_TIMEOUT_S = 60.0  # a shim is up in 30 ms; a folder on a hung NFS server is not
_EXIT_GRACE_S = 2.0


class Supervisor:
    """Owns every server of one run; single-threaded, on the main thread.

    run_dir: `runs/<run id>`, made if missing. warn: told of guarantees that this host cannot give.
    """

    def __init__(self, run_dir: Path, *, warn: Callable[[str], None]) -> None:
        self._run_dir = run_dir
        self._warn = warn
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
                self._warn(sentence)
            self._open_ledger(stack)
            self._stack = stack.pop_all()
        return self

    def _open_ledger(self, stack: ExitStack) -> None:
        self._cookie = cookie.find_new_cookie() or 0
        try:
            self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not stack.enter_context(ledger.hold_lock(self._run_dir, create=True)):
                raise HostError(f"another process works in {self._run_dir}")
            self._ledger = ledger.Ledger(
                run_id=self._run_dir.name,
                boot_id=ledger.get_boot_id(),
                pid_namespace=ledger.get_pid_namespace(),
                cookie=self._cookie,
                orchestrator=ledger.get_process(os.getpid()),
            )
            ledger.write(self._run_dir, self._ledger)
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
            survivors = [
                s for server in self._servers for s in server.stop(_EXIT_GRACE_S).survivors
            ]
            for survivor in survivors:
                self._warn(f"a process of this run could not be ended: {survivor}")
            if not survivors:
                self._record(finished=True)

    def start(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log_path: Path
    ) -> Server:
        """Start a server; returns once its command is executing.

        env: the whole environment, taken as it is but for SPT_NOENV=1, which keeps setproctitle
        from wiping it. stdout and stderr are appended to log_path, stdin is empty.
        Raises WarmupError where the command cannot be executed, Cancelled where we are told to end.
        """
        exec_error.check_command(argv, env)
        index = len(self._servers)
        cookies = cookie.get_server_cookies(self._cookie, index) if self._cookie else range(0)
        command = Command(argv, {"SPT_NOENV": "1", **env}, cwd, log_path)
        server = Server(spawn_shim(command, cookies.start), cookies, self)
        self._servers.append(server)
        entry = ledger.ServerEntry(ledger.get_process(server.shim_pid))
        self._record(servers=(*self._ledger.servers, entry))
        try:
            self._await_leader(server, log_path)
        except BaseException:
            server.stop(0)
            raise
        if server.messages.failed is not None:
            server.stop(0)
            raise exec_error.get_exec_error(*server.messages.failed, argv, env, cwd)
        entry = ledger.ServerEntry(entry.shim, ledger.get_process(server.leader_pid))
        self._record(servers=(*self._ledger.servers[:-1], entry))
        return server

    def _await_leader(self, server: Server, log_path: Path) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not server.leader_pid and server.messages.failed is None:
            if server.messages.closed or time.monotonic() >= deadline:
                raise WarmupError(
                    "cannot start the server",
                    cause="its supervisor process did not come up",
                    log=str(log_path),
                )
            self.wait(deadline - time.monotonic())
            self.check_cancelled()

    def _record(
        self, *, servers: tuple[ledger.ServerEntry, ...] = (), finished: bool = False
    ) -> None:
        """Best effort: by now the ledger holds the cookie, and that is what `reap` goes by."""
        changed = msgspec.structs.replace(
            self._ledger, servers=servers or self._ledger.servers, finished=finished
        )
        self._ledger = changed
        try:
            ledger.write(self._run_dir, changed)
        except OSError as error:
            self._warn(f"the ledger of {self._run_dir} could not be updated: {error}")

    def wait(self, timeout_s: float) -> None:
        """Sleep until a signal, the parent's death or news of a server; at most `timeout_s`.

        News is told once: look at `check_cancelled` and `Server.find_exit` before the next wait.
        """
        poll = select.poll()
        for fd in (*self._cancel.fds, *(fd for server in self._servers for fd in server.fds)):
            poll.register(fd, select.POLLIN)
        poll.poll(max(0.0, timeout_s) * 1000)
        self._cancel.drain()
        for server in self._servers:
            server.pump()

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
