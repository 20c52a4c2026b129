"""Is the server still alive, as far as processes and its log can tell."""

from __future__ import annotations

from warmup.supervise.log.watch import LogWatch
from warmup.supervise.protocols import Watched
from warmup.supervise.watch.workers import WorkerWatch

# Ends that the log says nothing of: in order, or from outside (the OOM killer, the user).
_UNEXPLAINED = ("status 0", "SIGKILL", "SIGTERM", "shim")


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

    def find_fault(self, *, thorough: bool = False) -> str | None:
        """Why this server will never answer well; None while nothing speaks against it.

        Looked for before each poll of HTTP: a worker may answer though its leader is dead, and
        a leader though its worker is. `thorough` looks at every process now, whatever it costs.
        """
        ended = self._server.find_exit()
        line = self._log_watch.poll(is_over=ended is not None)
        if ended is not None:
            if line is None and not any(words in ended for words in _UNEXPLAINED):
                line = self._log_watch.find_reason()
            return f"the leader {ended}" + (f"; its log says: {line}" if line else "")
        if line is not None:
            return f"its log says: {line}"
        return self._workers.poll(scan=thorough)

    @property
    def is_sure(self) -> bool:
        """False while a process has failed that its parent may yet come to collect, and while the
        log is telling of a crash."""
        return not self._workers.has_suspects and not self._log_watch.is_pending
