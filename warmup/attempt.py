"""One attempt to warm one model: what it stands on, how it boots the server, what it leaves.

`warm.py` says in which order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from warmup.caches.api import (
    FoundCompile,
    Snapshot,
    encode,
    find_new,
    get_log_variables,
    list_compiled,
    make_manifest,
    part_tuning,
    summaries,
    take_snapshot,
)
from warmup.launch.api import (
    Allocation,
    Engine,
    Launch,
    get_engine,
    get_server_argv,
    get_server_env,
)
from warmup.report.api import Events, ModelResult, State, tell_compiled
from warmup.state.api import (
    Home,
    MarkerCheck,
    VersionVector,
    WarmedBy,
    find_stale_entries,
    make_marker,
    write_warmed,
)
from warmup.supervise.api import Boot, Limits, Phases, PortLease, Supervisor
from warmup.target.api import Seeding
from warmup.words.secrets import Redactor


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What all models of one run share.

    env: the caller's environment with the cache variables laid over it. check: holds a launch's
    marker against reality. get_boot_launch: the launch as its server is started. visible_gpus:
    names that CUDA_VISIBLE_DEVICES takes. seeding: for GPUs that are not here, None without.
    is_alone: whether no neighbour warms another model meanwhile, in the same caches and on the GPUs
    beside these.
    """

    home: Home
    run_dir: Path
    supervisor: Supervisor
    events: Events
    redactor: Redactor
    env: Mapping[str, str]
    check: Callable[[Launch], MarkerCheck]
    get_vector: Callable[[Launch], VersionVector]
    get_boot_launch: Callable[[Launch], Launch]
    log_names: Mapping[str, str]
    limits: Limits
    visible_gpus: tuple[str, ...] = ()
    seeding: Seeding | None = None
    force: bool = False
    is_alone: bool = True


@dataclass
class Attempt:
    """One model's warm-up so far; becomes its ModelResult on every path.

    place: this model's number in the run, from 1, and how many there are. argv, env, port: of its
    server, once it has ports. target, left_out, seed_missed: see `Marker`.
    """

    launch: Launch
    context: RunContext
    place: tuple[int, int]
    phases: Phases
    started: float = field(default_factory=time.monotonic)
    new_entries: dict[str, int] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    log_path: Path | None = None
    marker: Path | None = None
    proven: bool = False
    target: str = ""
    left_out: tuple[str, ...] = ()
    seed_missed: tuple[str, ...] = ()

    @cached_property
    def engine(self) -> Engine:
        return get_engine(self.launch.engine)

    @property
    def boot_launch(self) -> Launch:
        """As its server is started: with random weights on a target."""
        return self.context.get_boot_launch(self.launch)

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self.started, 3)

    @property
    def warmed_by(self) -> WarmedBy:
        if self.context.seeding is not None:
            return "target"
        return "kernels" if self.launch.strategy == "kernels" else "server"

    def warn(self, text: str) -> None:
        self.context.events.emit("warning", self.launch.name, text=text)

    def get_log_path(self, suffix: str = "") -> Path:
        context = self.context
        return context.run_dir / f"{context.log_names[self.launch.name]}{suffix}.log"

    def prepare(self, lease: PortLease, gpus: str) -> None:
        """Command line and environment of the server on these ports and GPUs."""
        context = self.context
        allocation = Allocation(
            port=lease.port,
            extra_ports=lease.ports[1:],
            gpus=gpus,
            run_dir=str(context.run_dir),
            workflow_dir=self.launch.workflow_dir,
        )
        self.port = lease.port
        self.argv, left_away = get_server_argv(
            self.boot_launch,
            self.engine,
            allocation,
            lambda name: context.get_vector(self.launch).find_engine_version(name),
        )
        if left_away:
            text = f"left away, as this release of {self.launch.engine} lacks it: "
            self.warn(text + " ".join(left_away))
        self.env = get_server_env(self.launch, self.engine, allocation, context.env)
        if context.seeding is not None:
            trace = self.get_log_path().with_suffix(".trace").name
            self.env = context.seeding.lay_over(self.env, context.run_dir, trace)
            self.target = str(context.seeding.target)

    def tell_start(self, reason: str, gpus: str) -> None:
        self.log_path = self.get_log_path()
        index, total = self.place
        self.context.events.emit(
            "model_started",
            self.launch.name,
            index=index,
            total=total,
            engine=self.launch.engine,
            reason=reason,
            argv=list(self.argv),
            gpus=gpus,
            log=str(self.log_path),
        )

    def boot(self, suffix: str = "", variables: Mapping[str, str] | None = None) -> Path:
        """Spawn → ready → requests → stop → memory free, with a log and a working folder of its
        own. variables: laid over the server's. Returns the log's path. Raises WarmupError."""
        context, log_path = self.context, self.get_log_path(suffix)
        cwd = log_path.with_suffix("")
        cwd.mkdir(mode=0o700, exist_ok=True)
        boot = Boot(
            launch=self.boot_launch,
            engine=self.engine,
            argv=self.argv,
            env={**self.env, **(variables or {})},
            cwd=cwd,
            log_path=log_path,
            port=self.port,
            limits=context.limits,
            own_gpus=None if context.is_alone else context.visible_gpus,
        )
        boot.run(context.supervisor, context.events, self.phases, context.redactor)
        return log_path

    def boot_and_look(self, suffix: str = "", *, is_tuning_new: bool = False) -> list[FoundCompile]:
        """Boot once; everything that it compiled, as caches and log tell. is_tuning_new: whether
        autotuners' results are to be expected, and so count as nothing."""
        families = self.engine.families
        before = take_snapshot(families, self.env)
        log_path = self.boot(suffix, get_log_variables(families))
        return list_compiled(
            before,
            take_snapshot(families, self.env),
            log_path,
            dir_fd=self.context.supervisor.find_dir_fd(log_path.parent),
            is_tuning_new=is_tuning_new,
        )

    def look(self, before: Snapshot) -> Snapshot:
        """The caches now, without what a seed may not hold. What is new is counted and told."""
        after = take_snapshot(tuple(before.families), self.env)
        if self.context.seeding is not None:
            after, _ = part_tuning(after)
        new = find_new(before, after)
        self.new_entries = {family: len(entries) for family, entries in new.items()}
        self.tell_compiled(
            FoundCompile(name, one.kernel, one.t) for name in new for one in new[name]
        )
        return after

    def tell_compiled(self, found: Iterable[FoundCompile]) -> None:
        """One event a family."""
        families: dict[str, list[tuple[float | None, str]]] = {}
        for one in found:
            families.setdefault(one.family, []).append((one.t, one.kernel))
        for family, kernels in families.items():
            tell_compiled(self.context.events, self.launch.name, family, kernels)

    def write_marker(self, before: Snapshot, after: Snapshot) -> None:
        """With its manifest. before, after: the caches around the boots."""
        home, vector = self.context.home, self.context.get_vector(self.launch)
        vector.require_read("the caches are warm, and no marker can say for which versions")
        manifest = make_manifest(before, after, stale=find_stale_entries(home, vector.key))
        data = encode(manifest)
        marker = make_marker(
            self.launch,
            vector,
            argv=self.argv,
            engine_version=vector.find_engine_version(self.engine.distribution),
            families=summaries(manifest),
            manifest=data,
            phases=self.phases.seconds,
            seconds=self.seconds,
            proven=self.proven,
            warmed_by=self.warmed_by,
            target=self.target,
            left_out=self.left_out,
            seed_missed=self.seed_missed,
            skipped_steps=self.phases.skipped_steps,
        )
        self.marker = write_warmed(home, marker, data)

    def to_result(self, state: State, reason: str) -> ModelResult:
        return ModelResult(
            model=self.launch.label,
            tp=self.launch.tp,
            engine=self.launch.engine,
            state=state,
            reason=reason,
            seconds=self.seconds,
            phases=self.phases.seconds,
            failed_phase=self.phases.failed if state == "failed" else None,
            new_entries=self.new_entries,
            proven=self.proven,
            marker=None if self.marker is None else str(self.marker),
            log=None if self.log_path is None else str(self.log_path),
            argv=self.argv,
            survivors=self.context.supervisor.list_survivors(),
            target=self.target,
            left_out=self.left_out,
            seed_missed=self.seed_missed,
            steps=tuple(self.phases.steps),
        )
