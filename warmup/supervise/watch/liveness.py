"""Is the server still alive, as far as processes and its log can tell."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from warmup.supervise.log.exceptions import ELSEWHERE
from warmup.supervise.log.watch import LogWatch
from warmup.supervise.protocols import Waiter, Watched
from warmup.supervise.tree.exits import is_from_outside
from warmup.supervise.watch.workers import WorkerWatch
from warmup.words.errors import WarmupError

_SPEAKS_WITHIN_S = 2.0
_POLL_S = 0.05


@dataclass(frozen=True)
class Fault:
    """Why a server will never answer well. is_from_outside: others ended its leader or worker.

    is_worker: whether a worker ended while its leader lived.
    """

    text: str
    is_from_outside: bool = False
    is_worker: bool = False


class ServerFailed(WarmupError):
    """The server fell over, or did not do what was asked in time; `fault` where it is known."""

    fault: Fault | None = None


class Liveness:
    """Leader, workers and log of one server, looked at together; a context manager."""

    def __init__(self, server: Watched, log_watch: LogWatch) -> None:
        self._server = server
        self._log_watch = log_watch
        self._workers = WorkerWatch(server)

    def __enter__(self) -> Liveness:
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.close()

    def find_fault(self, *, thorough: bool = False) -> Fault | None:
        """Why this server will never answer well; None while nothing speaks against it.

        Looked for before each poll of HTTP: a worker may answer though its leader is dead, and
        a leader though its worker is. `thorough` looks at every process now, whatever it costs.
        """
        ended = self._server.find_exit()
        line = self._log_watch.poll(is_over=ended is not None)
        if ended is not None:
            if line is None and ended.may_be_in_log:
                line = self._log_watch.find_reason()
            told = f"; its log says: {line}" if line else ""
            return Fault(f"the leader {ended}{told}", not ended.is_own_doing)
        if line is not None:
            # vLLM says so of a worker that somebody killed, where there is nothing above.
            dead = self._workers.poll(scan=True) if ELSEWHERE in line else None
            if dead is None:
                return Fault(f"its log says: {line}")
            return Fault(f"{dead}; its log says: {line}", is_from_outside(dead.status))
        worker = self._workers.poll(scan=thorough)
        if worker is None:
            return None
        return Fault(str(worker), is_from_outside(worker.status), is_worker=True)

    def hear_out(self, fault: Fault, waiter: Waiter) -> Fault:
        """With what the leader says of it, where it ends soon after its worker.

        Launchers kill their workers before they tell what failed (sglang's kill_process_tree).
        """
        deadline = time.monotonic() + _SPEAKS_WITHIN_S
        while fault.is_worker and time.monotonic() < deadline:
            waiter.check_cancelled()
            if self._server.find_exit() is not None and (told := self.find_fault()) is not None:
                return replace(fault, text=f"{fault.text}; then {told.text}")
            waiter.wait(_POLL_S)
        return fault

    @property
    def is_sure(self) -> bool:
        """False while a process has failed that its parent may yet come to collect, and while the
        log is telling of a crash."""
        return not self._workers.has_suspects and not self._log_watch.is_pending
