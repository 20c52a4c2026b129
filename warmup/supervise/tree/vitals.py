"""Is the server still alive, as far as processes and its log can tell."""

from __future__ import annotations

from types import TracebackType

from warmup.supervise.log.watch import LogWatch
from warmup.supervise.protocols import Watched
from warmup.supervise.watch.workers import WorkerWatch


class Vitals:
    """Leader, workers and log of one server, looked at together; a context manager."""

    def __init__(self, server: Watched, log_watch: LogWatch) -> None:
        self._server = server
        self._log_watch = log_watch
        self._workers = WorkerWatch(server)

    def __enter__(self) -> Vitals:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._workers.close()

    def find_fault(self, *, thorough: bool = False) -> str | None:
        """Why this server will never answer well; None while nothing speaks against it.

        Looked for before each poll of HTTP: a worker may answer though its leader is dead, and
        a leader though its worker is. `thorough` looks at every process now, whatever it costs.
        """
        ended = self._server.find_exit()
        line = self._log_watch.poll()
        said = None if line is None else f"its log says: {line}"
        if ended is not None:
            return f"the leader {ended}" + (f"; {said}" if said else "")
        return said or self._workers.poll(scan=thorough)

    @property
    def is_sure(self) -> bool:
        """False while a process has failed that its parent may yet come to collect."""
        return not self._workers.has_suspects
