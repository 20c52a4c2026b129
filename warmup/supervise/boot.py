"""One boot of one server: spawn → ready → request → ladder → stop → GPU memory free.

Whatever happens inside, the server is ended and the tail of its log is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from warmup.launch.api import Engine, Launch
from warmup.report.api import Events
from warmup.supervise.gpu_memory import Gpu, read_gpus, select_gpus, wait_until_free
from warmup.supervise.ladder import Climb
from warmup.supervise.limits import Limits
from warmup.supervise.log.exceptions import find_trouble
from warmup.supervise.log.file import LogFile
from warmup.supervise.log.watch import LogWatch
from warmup.supervise.phases import Phases
from warmup.supervise.tree.supervisor import Server, StopReport, Supervisor
from warmup.supervise.watch.liveness import ServerFailed
from warmup.supervise.watch.readiness import wait_until_ready
from warmup.words.errors import Cancelled, WarmupError
from warmup.words.secrets import Redactor

# Weights of hundreds of GB take the driver seconds to free; more means that somebody holds them.
MEMORY_TIMEOUT_S = 60.0
# Two readings of an idle GPU differ by this much: contexts of others come and go.
MEMORY_TOLERANCE_BYTES = 64 << 20


@dataclass
class _Upkeep:
    """What is done again and again while a server lives: its log is bounded, its progress told."""

    log: LogFile
    watch: LogWatch
    events: Events
    phases: Phases
    redactor: Redactor

    def poll(self) -> None:
        self.trim()
        self.phases.beat(lambda: self.redactor.redact(self.watch.last_line()))

    def trim(self) -> None:
        unbounded = self.log.trim()
        if unbounded is not None:
            self.events.emit("warning", self.phases.model, text=unbounded)


@dataclass(frozen=True, kw_only=True)
class Boot:
    """What one boot needs to know.

    cwd: the server's own folder (servers litter).
    own_gpus: names of those that are its own, where neighbours use the others; None: all are.
    """

    launch: Launch
    engine: Engine
    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    log_path: Path
    port: int
    limits: Limits
    own_gpus: tuple[str, ...] | None = None

    def run(
        self, supervisor: Supervisor, events: Events, phases: Phases, redactor: Redactor
    ) -> None:
        """Raises WarmupError where the server does not start, answer as expected, or end."""
        # NVML is asked before the server starts: what others hold is not ours to wait for.
        gpus = read_gpus()
        if self.own_gpus is not None:
            gpus = select_gpus(gpus, self.own_gpus)
        try:
            self._serve(supervisor, events, phases, redactor)
        except Cancelled:
            raise  # no server will be started after this one
        except WarmupError:
            try:
                self._wait_for_memory(gpus, supervisor, phases)
            except WarmupError as error:  # not what this model is to be remembered for
                events.emit("warning", self.launch.name, text=error.reason)
            raise
        self._wait_for_memory(gpus, supervisor, phases)

    def _serve(
        self, supervisor: Supervisor, events: Events, phases: Phases, redactor: Redactor
    ) -> None:
        """From spawn to stop. Whatever happens, nothing lives on and the tail is shown."""
        patterns = (*self.engine.crash_patterns, *self.launch.crash_patterns)
        dir_fd = supervisor.find_dir_fd(self.log_path.parent)
        watch = LogWatch(self.log_path, patterns, redactor=redactor, dir_fd=dir_fd)
        log = LogFile(self.log_path, self.limits.max_log_bytes, dir_fd=dir_fd)
        upkeep = _Upkeep(log, watch, events, phases, redactor)
        server: Server | None = None
        survivors: tuple[str, ...] = ()
        stopped_at: int | None = None
        try:
            with phases.timed("spawn"):
                server = supervisor.start(
                    self.argv,
                    env=self.env,
                    cwd=self.cwd,
                    log_path=self.log_path,
                    max_processes=self.launch.max_processes,
                )
            self._use(server, supervisor, watch, upkeep)
        except WarmupError as error:
            error.log = error.log or str(self.log_path)
            if server is not None and not isinstance(error, Cancelled):
                fault = error.fault if isinstance(error, ServerFailed) else None
                is_from_outside = fault is not None and fault.is_from_outside
                ended = server.find_exit()
                has_ended_itself = ended is not None and ended.is_own_doing
                error.is_evidence |= has_ended_itself and not is_from_outside
            if self.limits.is_over and not isinstance(error, Cancelled):
                error.cause = f"{error.cause or error.what}; the step's deadline has passed"
            raise
        finally:
            try:
                if server is not None:
                    stopped_at = watch.find_size()
                    with phases.timed("stop"):
                        report = server.stop(self.launch.stop_grace_s, upkeep.poll)
                        survivors = report.survivors
                    self._tell_stop(report, events)
            finally:
                upkeep.trim()
                self._show_tail(events, watch, stopped_at)
        if survivors:
            phases.mark_failed("stop")
            raise WarmupError(
                "the server could not be ended",
                cause="; ".join(survivors),
                log=str(self.log_path),
                hint="a process in state D waits for the driver or a disk: see `warmup-ci doctor`",
            )

    def _tell_stop(self, report: StopReport, events: Events) -> None:
        """What a user would not expect of a stop."""
        if report.is_grace_over:
            grace = f"{self.launch.stop_grace_s:g} s of grace"
            text = f"the server did not end within {grace}; processes killed: {report.killed}"
            events.emit("warning", self.launch.name, text=text)
        for survivor in report.survivors:
            events.emit("warning", self.launch.name, text=f"not ended: {survivor}")

    def _wait_for_memory(self, gpus: list[Gpu], supervisor: Supervisor, phases: Phases) -> None:
        if gpus:
            with phases.timed("memory"):
                wait_until_free(
                    gpus,
                    supervisor,
                    timeout_s=MEMORY_TIMEOUT_S,
                    tolerance_bytes=MEMORY_TOLERANCE_BYTES,
                )

    def _use(
        self, server: Server, supervisor: Supervisor, watch: LogWatch, upkeep: _Upkeep
    ) -> None:
        with upkeep.phases.timed("ready"):
            wait_until_ready(
                server,
                supervisor,
                port=self.port,
                path=self.engine.get_health_path(self.launch),
                timeout_s=self.limits.cut(self.launch.start_timeout_s),
                log_watch=watch,
                redactor=upkeep.redactor,
                on_poll=upkeep.poll,
            )
        Climb(
            launch=self.launch,
            engine=self.engine,
            env=self.env,
            server=server,
            waiter=supervisor,
            port=self.port,
            log_watch=watch,
            redactor=upkeep.redactor,
            on_poll=upkeep.poll,
            phases=upkeep.phases,
            limit_s=self.limits.cut(self.launch.request_timeout_s),
        ).run()

    def _show_tail(self, events: Events, watch: LogWatch, stopped_at: int | None) -> None:
        tail = watch.read_tail(self.limits.log_lines, stopped_at)
        events.emit(
            "log_tail",
            self.launch.name,
            path=str(self.log_path),
            lines=list(tail.lines),
            cut=tail.is_cut,
            trouble=find_trouble(tail.lines),
        )
