"""One model: marker → spawn → ready → requests → stop → memory free → manifest → marker.

The marker is written last, and only here, after a real request was answered as expected.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from warmup.attempt import Attempt, RunContext
from warmup.caches.api import Snapshot, mark_unread, take_snapshot
from warmup.kernels.api import FAMILIES, compile_directly
from warmup.launch.api import Launch
from warmup.report.api import PROOF_PREFIX, ModelResult
from warmup.state.api import NOT_PROVEN, Marker, MarkerCheck, hold_launch_lock
from warmup.supervise.api import Phases, lease_ports
from warmup.target.api import Seeding
from warmup.words.errors import Cancelled, HostError, WarmupError
from warmup.workflow.api import assign, get_reason, is_done, make_unlaunched

# Kernels named in one error line; the others are counted.
MAX_NAMED = 12


def warm_model(
    launch: Launch, context: RunContext, place: tuple[int, int]
) -> tuple[ModelResult, WarmupError | None]:
    """Warm one model unless it is provably warm.

    A failure is a result, with its error beside it; so is a cancellation. Nothing is raised but
    our own bugs.
    """
    attempt = Attempt(launch, context, place, Phases(context.events, launch.name))
    try:
        return _warm_locked(attempt), None
    except WarmupError as error:
        # A cause may quote the server: its log, or what it answered.
        error.redact(context.redactor.redact)
        return attempt.to_result("failed", error.reason), error
    except OSError as error:
        # Disk full, a folder that went away: the host's trouble, and the other models go on.
        wrapped = HostError(
            "the host failed this warm-up",
            cause=f"{error.strerror or error}: {error.filename or context.home.path}",
            hint="run `warmup-ci doctor`",
        )
        return attempt.to_result("failed", wrapped.reason), wrapped


def _warm_locked(attempt: Attempt) -> ModelResult:
    """Lock, then check again: another run on this home may have warmed the same launch."""
    launch, context = attempt.launch, attempt.context
    holders: list[str] = []

    def on_wait(holder: str) -> None:
        holders.append(holder)
        attempt.warn(f"waits for {holder}")

    def wait(timeout_s: float) -> None:
        context.supervisor.wait(timeout_s)
        context.supervisor.check_cancelled()
        attempt.phases.beat()

    lock = hold_launch_lock(
        context.home, launch.key, deadline=context.limits.deadline, on_wait=on_wait, wait=wait
    )
    with lock:
        check = context.check(launch)
        if is_done(check, launch, force=context.force and not holders):
            return make_unlaunched(launch, check, "warm")
        try:
            return _warm_cold(attempt, check)
        except WarmupError as error:
            if context.seeding is not None:
                context.seeding.explain(error, launch, attempt.env)
            elif error.is_evidence:
                _distrust(attempt, check)
            raise


def _distrust(attempt: Attempt, check: MarkerCheck) -> None:
    """Take away a fresh marker that a forced or proving boot has just contradicted."""
    if check.is_warm and check.path is not None:
        with contextlib.suppress(FileNotFoundError):
            attempt.context.home.get_folder("markers").unlink(check.path.name)
        attempt.warn(f"its marker is contradicted and removed: {check.path}")


def _warm_cold(attempt: Attempt, check: MarkerCheck) -> ModelResult:
    """Start its server and ask; what it leaves is a marker, or a seed's. Raises WarmupError."""
    launch, context, engine = attempt.launch, attempt.context, attempt.engine
    seeding = context.seeding
    problem = engine.find_problem(attempt.boot_launch)
    if problem is not None:
        raise problem
    if context.limits.is_over:
        raise WarmupError(
            "no time is left in this step",
            cause="the step's deadline passed before this model could start",
            hint="raise --deadline, or split the models over several steps",
        )
    gpus = assign(launch.tp, context.visible_gpus, is_required=launch.engine != "command")
    reason = get_reason(check, launch, force=context.force)
    with lease_ports(context.home.locks, 1 + engine.num_extra_ports) as lease:
        attempt.prepare(lease, gpus)
        families = FAMILIES if launch.strategy == "kernels" else engine.families
        before = take_snapshot(families, attempt.env)
        if context.is_alone:  # else a neighbour's marking would hide what this one reads
            before = mark_unread(before)
        attempt.tell_start(reason, gpus)
        try:
            if seeding is not None:
                _seed(attempt, seeding, before)
            elif check.state == "seeded" and check.marker is not None and not context.force:
                _confirm(attempt, check.marker)
            elif reason != NOT_PROVEN:  # else only the proof is missing
                _compile(attempt)
        except WarmupError as error:
            if not isinstance(error, Cancelled):  # then there is no time to look
                attempt.look(before)
            raise
        after = attempt.look(before)
        if launch.prove and not attempt.proven and seeding is None:
            _prove(attempt)
        attempt.write_marker(before, after)
    return attempt.to_result("warmed" if seeding is None else "seeded", reason)


def _compile(attempt: Attempt) -> None:
    """The ordinary way: what can be compiled directly first, then by one boot of the server."""
    launch, context = attempt.launch, attempt.context
    if launch.strategy != "server":
        hindrance = compile_directly(
            launch,
            attempt.env,
            context.run_dir,
            attempt.phases,
            has_gpu=bool(context.visible_gpus),
            check=context.supervisor.check_cancelled,
        )
        if hindrance is not None:
            attempt.warn(f"its server compiles all kernels, since {hindrance}")
    if launch.strategy != "kernels":
        attempt.boot()


def _seed(attempt: Attempt, seeding: Seeding, before: Snapshot) -> None:
    """One boot on the null device. What its autotuners wrote is taken away, however it ended."""
    seeding.note_tuning(attempt.launch, before)
    try:
        attempt.boot()
    finally:
        left_out = seeding.remove_tuning(attempt.launch, before, attempt.env)
        attempt.left_out = tuple(map(str, left_out))
    if left_out:
        attempt.warn(f"left out of the seed, since nothing was timed: {_join(attempt.left_out)}")
    for unserved in seeding.list_unserved(attempt.env):
        attempt.warn(unserved)


def _confirm(attempt: Attempt, seed: Marker) -> None:
    """The seed's one boot on the GPU. It is proven where nothing is compiled; else this was an
    ordinary warm-up, and what the seed missed is named. What is timed anew counts as nothing."""
    attempt.target = seed.target
    attempt.seed_missed = missed = tuple(map(str, attempt.boot_and_look(is_tuning_new=True)))
    attempt.proven = not missed
    if missed:
        attempt.warn(f"its seed for {seed.target} missed {len(missed)}: {_join(missed)}")


def _prove(attempt: Attempt) -> None:
    """Boot the same way again; raise WarmupError naming every kernel that is compiled again."""
    attempt.phases.prefix = PROOF_PREFIX
    found = attempt.boot_and_look(".prove")
    if found:
        attempt.tell_compiled(found)
        again = [*map(str, found)]
        error = WarmupError(
            f"not proven: the second boot compiled {len(again)} again",
            cause=_join(again),
            log=str(attempt.get_log_path(".prove")),
            hint="what compiles on every boot is not cached: `warmup-ci audit` knows some causes",
        )
        error.is_evidence = True
        raise error
    attempt.proven = True


def _join(names: Sequence[str]) -> str:
    shown = "; ".join(names[:MAX_NAMED])
    return shown + (f"; and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")
