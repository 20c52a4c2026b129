"""One model: marker → spawn → ready → requests → stop → memory free → manifest → marker.

The marker is written last, and only here, after a real request was answered as expected.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from warmup.caches.api import (
    Snapshot,
    drop_loads,
    encode,
    find_compile_lines,
    find_new,
    get_log_variables,
    make_manifest,
    mark_unread,
    part_tuning,
    summaries,
    take_snapshot,
)
from warmup.kernels.api import FAMILIES, ModelShapes, derive_or_leave, merge_asks
from warmup.launch.api import Allocation, Engine, Launch, get_engine, get_server_env
from warmup.report.api import PROOF_PREFIX, Events, ModelResult, State, get_count
from warmup.state.api import (
    Home,
    MarkerCheck,
    VersionVector,
    WarmedBy,
    find_stale_entries,
    hold_launch_lock,
    make_marker,
    write_manifest,
    write_marker,
)
from warmup.supervise.api import HEARTBEAT_S, Boot, Phases, Supervisor, lease_ports
from warmup.target.api import Seeding
from warmup.words.errors import HostError, WarmupError
from warmup.words.secrets import Redactor
from warmup.workflow.api import NOT_PROVEN, assign, get_reason, is_done, make_unlaunched

# Kernels named in one error line; the others are counted.
MAX_NAMED = 12


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """What all models of one run share.

    env: the caller's environment with the cache variables laid over it. check: holds a launch's
    marker against reality. visible_gpus: names that CUDA_VISIBLE_DEVICES takes. seeding: for GPUs
    that are not here, None without. deadline: monotonic seconds by which the whole step must have
    ended, None without one. is_alone: whether no neighbour warms another model
    meanwhile, in the same caches and on the GPUs beside these.
    """

    home: Home
    run_dir: Path
    supervisor: Supervisor
    events: Events
    redactor: Redactor
    env: Mapping[str, str]
    check: Callable[[Launch], MarkerCheck]
    get_vector: Callable[[Launch], VersionVector]
    log_names: Mapping[str, str]
    log_lines: int
    max_log_bytes: int
    visible_gpus: tuple[str, ...] = ()
    seeding: Seeding | None = None
    deadline: float | None = None
    force: bool = False
    is_alone: bool = True


@dataclass
class _Attempt:
    """One model's warm-up so far; becomes its ModelResult on every path.

    place: this model's number in the run, from 1, and how many there are.
    """

    launch: Launch
    step: RunContext
    place: tuple[int, int]
    phases: Phases
    started: float = field(default_factory=time.monotonic)
    new_entries: dict[str, int] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    log_path: Path | None = None
    marker: Path | None = None
    proven: bool = False
    target: str = ""
    left_out: tuple[str, ...] = ()
    seed_missed: tuple[str, ...] = ()

    @property
    def boot_launch(self) -> Launch:
        """As its server is started: with random weights on a target."""
        seeding = self.step.seeding
        return self.launch if seeding is None else seeding.get_boot_launch(self.launch)

    def to_result(self, state: State, reason: str) -> ModelResult:
        return ModelResult(
            model=self.launch.label,
            tp=self.launch.tp,
            engine=self.launch.engine,
            state=state,
            reason=reason,
            seconds=round(time.monotonic() - self.started, 3),
            phases=self.phases.seconds,
            failed_phase=self.phases.failed if state == "failed" else None,
            new_entries=self.new_entries,
            proven=self.proven,
            marker=None if self.marker is None else str(self.marker),
            log=None if self.log_path is None else str(self.log_path),
            argv=self.argv,
            survivors=self.step.supervisor.list_survivors(),
            target=self.target,
            left_out=self.left_out,
            seed_missed=self.seed_missed,
            steps=tuple(self.phases.steps),
        )


def warm_model(
    launch: Launch, step: RunContext, place: tuple[int, int]
) -> tuple[ModelResult, WarmupError | None]:
    """Warm one model unless it is provably warm.

    A failure is a result, with its error beside it; so is a cancellation. Nothing is raised but
    our own bugs.
    """
    attempt = _Attempt(launch, step, place, Phases(step.events, launch.name))
    try:
        return _warm_locked(attempt), None
    except WarmupError as error:
        # A cause may quote the server: its log, or what it answered.
        error.redact(step.redactor.redact)
        return attempt.to_result("failed", error.reason), error
    except OSError as error:
        # Disk full, a folder that went away: the host's trouble, and the other models go on.
        wrapped = HostError(
            "the host failed this warm-up",
            cause=f"{error.strerror or error}: {error.filename or step.home.path}",
            hint="run `warmup-ci doctor`",
        )
        return attempt.to_result("failed", wrapped.reason), wrapped


def _warm_locked(attempt: _Attempt) -> ModelResult:
    """Lock, then check again: another run on this home may have warmed the same launch."""
    launch, step = attempt.launch, attempt.step
    has_waited, heartbeat = False, time.monotonic() + HEARTBEAT_S

    def on_wait(holder: str) -> None:
        nonlocal has_waited
        has_waited = True
        step.events.emit("warning", launch.name, text=f"waits for {holder}")

    def wait(timeout_s: float) -> None:
        nonlocal heartbeat
        step.supervisor.wait(timeout_s)
        step.supervisor.check_cancelled()
        if time.monotonic() >= heartbeat:
            heartbeat = time.monotonic() + HEARTBEAT_S
            waited_s = time.monotonic() - attempt.started
            step.events.emit("heartbeat", launch.name, phase="lock", seconds=waited_s)

    lock = hold_launch_lock(
        step.home, launch.key, deadline=step.deadline, on_wait=on_wait, wait=wait
    )
    with lock:
        check = step.check(launch)
        if is_done(check, launch, force=step.force and not has_waited):
            return make_unlaunched(launch, check, "warm")
        try:
            return _warm_cold(attempt, check)
        except WarmupError as error:
            if step.seeding is not None:
                step.seeding.explain(error, launch)
            elif error.is_evidence:
                _distrust(attempt, check)
            raise


def _distrust(attempt: _Attempt, check: MarkerCheck) -> None:
    """Take away a fresh marker that a forced or proving boot has just contradicted."""
    if check.is_warm and check.path is not None:
        with contextlib.suppress(FileNotFoundError):
            attempt.step.home.get_folder("markers").unlink(check.path.name)
        text = f"its marker is contradicted and removed: {check.path}"
        attempt.step.events.emit("warning", attempt.launch.name, text=text)


def _warm_cold(attempt: _Attempt, check: MarkerCheck) -> ModelResult:
    launch, step = attempt.launch, attempt.step
    engine = get_engine(launch.engine)
    problem = engine.find_problem(attempt.boot_launch)
    if problem is not None:
        raise problem
    if step.deadline is not None and time.monotonic() >= step.deadline:
        raise WarmupError(
            "no time is left in this step",
            cause="the step's deadline passed before this model could start",
            hint="raise --deadline, or split the models over several steps",
        )
    gpus = assign(launch.tp, step.visible_gpus, is_required=launch.engine != "command")
    reason = get_reason(check, launch, force=step.force)
    with lease_ports(step.home.locks, 1 + engine.num_extra_ports) as lease:
        allocation = Allocation(
            port=lease.port,
            extra_ports=lease.ports[1:],
            gpus=gpus,
            run_dir=str(step.run_dir),
            workflow_dir=launch.workflow_dir,
        )
        attempt.argv = tuple(engine.get_argv(attempt.boot_launch, allocation))
        env = get_server_env(launch, engine, allocation, step.env)
        if step.seeding is not None:
            env, attempt.target = step.seeding.lay_over(env, step.run_dir), str(step.seeding.target)
        families = FAMILIES if launch.strategy == "kernels" else engine.families
        before = take_snapshot(families, env)
        if step.is_alone:  # else a neighbour's marking would hide what this one reads
            before = mark_unread(before)
        _tell_start(attempt, reason, gpus)
        if step.seeding is not None:
            _seed(attempt, engine, env, allocation.port, before)
        elif check.state == "seeded" and not step.force:
            _confirm(attempt, engine, env, allocation.port, check)
        elif reason != NOT_PROVEN:  # else only the proof is missing
            if launch.strategy != "server":
                _compile_directly(attempt, env)
            if launch.strategy != "kernels":
                _boot(attempt, engine, env, allocation.port)
        after = take_snapshot(families, env)
        if step.seeding is not None:
            after, _ = part_tuning(after)
        attempt.new_entries = {name: len(new) for name, new in find_new(before, after).items()}
        if launch.prove and not attempt.proven and step.seeding is None:
            _prove(attempt, engine, env, allocation.port)
        _write_marker(attempt, engine, before, after)
    return attempt.to_result("warmed" if step.seeding is None else "seeded", reason)


def _seed(
    attempt: _Attempt, engine: Engine, env: Mapping[str, str], port: int, before: Snapshot
) -> None:
    """One boot on the null device. What its autotuners wrote is taken away, however it ended."""
    seeding, launch = attempt.step.seeding, attempt.launch
    assert seeding is not None
    seeding.note_tuning(launch, before)
    try:
        _boot(attempt, engine, env, port)
    finally:
        found = seeding.remove_tuning(launch, before, env)
        attempt.left_out = tuple(map(str, found))
    if found:
        text = f"left out of the seed, since nothing was timed: {_join(attempt.left_out)}"
        attempt.step.events.emit("warning", launch.name, text=text)


def _confirm(
    attempt: _Attempt, engine: Engine, env: Mapping[str, str], port: int, check: MarkerCheck
) -> None:
    """The seed's one boot on the GPU. It is proven where nothing is compiled; else this was an
    ordinary warm-up, and what the seed missed is named. What is timed anew counts as nothing."""
    seed, events = check.marker, attempt.step.events
    assert seed is not None
    attempt.target = seed.target
    attempt.seed_missed = tuple(_list_compiled(attempt, engine, env, port, is_tuning_new=True))
    attempt.proven = not attempt.seed_missed
    if attempt.seed_missed:
        text = f"its seed for {seed.target} missed {len(attempt.seed_missed)}: "
        events.emit("warning", attempt.launch.name, text=text + _join(attempt.seed_missed))


def _list_compiled(
    attempt: _Attempt,
    engine: Engine,
    env: Mapping[str, str],
    port: int,
    suffix: str = "",
    *,
    is_tuning_new: bool = False,
) -> list[str]:
    """Boot once; everything that it compiled, as caches and log tell. is_tuning_new: whether
    autotuners' results are to be expected, and so count as nothing."""
    families = engine.families
    before = take_snapshot(families, env)
    log_path = _boot(attempt, engine, {**env, **get_log_variables(families)}, port, suffix)
    after = take_snapshot(families, env)
    new = find_new(before, part_tuning(after)[0] if is_tuning_new else after)
    found = [f"{family} {entry.kernel}" for family, each in new.items() for entry in each]
    dir_fd = attempt.step.supervisor.find_dir_fd(log_path.parent)
    lines = drop_loads(find_compile_lines(log_path, families, dir_fd=dir_fd), before)
    return found + [f"{each.family} {each.text}" for each in lines]


def _join(names: Sequence[str]) -> str:
    shown = "; ".join(names[:MAX_NAMED])
    return shown + (f"; and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")


def _tell_start(attempt: _Attempt, reason: str, gpus: str) -> None:
    step = attempt.step
    attempt.log_path = _get_log_path(attempt)
    index, total = attempt.place
    step.events.emit(
        "model_started",
        attempt.launch.name,
        index=index,
        total=total,
        engine=attempt.launch.engine,
        reason=reason,
        argv=list(attempt.argv),
        gpus=gpus,
        log=str(attempt.log_path),
    )


def _get_log_path(attempt: _Attempt, suffix: str = "") -> Path:
    return attempt.step.run_dir / f"{attempt.step.log_names[attempt.launch.name]}{suffix}.log"


def _compile_directly(attempt: _Attempt, env: Mapping[str, str]) -> None:
    """DeepGEMM's kernels first, on every core and without weights; the server then finds them.

    A model without such kernels is left to its server. Where they cannot be compiled here, that is
    told and the server does it; under `kernels` there is no server, and WarmupError is raised.
    """
    launch, step = attempt.launch, attempt.step
    shapes = derive_or_leave(launch, env)
    is_left = shapes.strategy == "server"
    reason = shapes.reason if is_left else _find_why_not_direct(attempt, shapes, env)
    if reason is None:
        return
    if launch.strategy == "kernels":
        raise WarmupError(
            "its kernels cannot be compiled without a server",
            cause=reason,
            hint='strategy = "auto" or "server" lets the server compile them',
        )
    if not is_left:
        text = f"its server compiles all kernels, since {reason}"
        step.events.emit("warning", launch.name, text=text)


def _find_why_not_direct(
    attempt: _Attempt, shapes: ModelShapes, env: Mapping[str, str]
) -> str | None:
    """Compile; None once all kernels are, else why only the server can."""
    from warmup.kernels.api import Setting, compile_shapes

    step = attempt.step
    if not step.visible_gpus:
        return "DeepGEMM compiles on a GPU only, and this host shows none"
    try:
        with attempt.phases.timed("kernels"):
            setting = Setting(
                engine=attempt.launch.engine,
                python=attempt.launch.python,
                env=env,
                run_dir=step.run_dir,
                name=step.run_dir.name,
                check=step.supervisor.check_cancelled,
            )
            result = compile_shapes(merge_asks([shapes]), setting)
    except HostError as error:
        return error.reason
    if not result.failed:
        return None
    return f"{get_count(len(result.failed), 'kernel')} failed: {result.failed[0]}"


def _boot(
    attempt: _Attempt, engine: Engine, env: Mapping[str, str], port: int, suffix: str = ""
) -> Path:
    """One boot with a log and a working folder of its own. Returns the log's path."""
    step, name = attempt.step, attempt.step.log_names[attempt.launch.name] + suffix
    cwd = step.run_dir / name
    cwd.mkdir(mode=0o700, exist_ok=True)
    boot = Boot(
        launch=attempt.boot_launch,
        engine=engine,
        argv=attempt.argv,
        env=env,
        cwd=cwd,
        log_path=step.run_dir / f"{name}.log",
        port=port,
        deadline=step.deadline,
        log_lines=step.log_lines,
        max_log_bytes=step.max_log_bytes,
        own_gpus=None if step.is_alone else step.visible_gpus,
    )
    boot.run(step.supervisor, step.events, attempt.phases, step.redactor)
    return boot.log_path


def _prove(attempt: _Attempt, engine: Engine, env: Mapping[str, str], port: int) -> None:
    """Boot the same way again; raise WarmupError naming every kernel that is compiled again."""
    attempt.phases.prefix = PROOF_PREFIX
    again = _list_compiled(attempt, engine, env, port, ".prove")
    if again:
        error = WarmupError(
            f"not proven: the second boot compiled {len(again)} again",
            cause=_join(again),
            log=str(_get_log_path(attempt, ".prove")),
            hint="what compiles on every boot is not cached: `warmup-ci audit` knows some causes",
        )
        error.is_evidence = True
        raise error
    attempt.proven = True


def _write_marker(attempt: _Attempt, engine: Engine, before: Snapshot, after: Snapshot) -> None:
    """Manifest first, marker last: a crash between the two leaves the launch cold, never a lie."""
    launch, step = attempt.launch, attempt.step
    vector = step.get_vector(launch)
    vector.require_read("the caches are warm, and no marker can say for which versions")
    manifest = make_manifest(before, after, stale=find_stale_entries(step.home, vector.key))
    data = encode(manifest)
    versions = {each.name: each.value for each in vector.ingredients}
    marker = make_marker(
        launch,
        vector,
        argv=attempt.argv,
        engine_version=versions.get(f"engine:{engine.distribution}"),
        families=summaries(manifest),
        manifest=data,
        phases=attempt.phases.seconds,
        seconds=round(time.monotonic() - attempt.started, 3),
        proven=attempt.proven,
        warmed_by=_get_warmed_by(attempt),
        target=attempt.target,
        left_out=attempt.left_out,
        seed_missed=attempt.seed_missed,
        skipped_steps=attempt.phases.skipped_steps,
    )
    write_manifest(step.home, marker.manifest, data)
    attempt.marker = write_marker(step.home, marker)


def _get_warmed_by(attempt: _Attempt) -> WarmedBy:
    if attempt.step.seeding is not None:
        return "target"
    return "kernels" if attempt.launch.strategy == "kernels" else "server"
