"""`warmup-ci doctor`: is this host fit to warm models?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from warmup.commands.session import Session
from warmup.report.api import get_count, show
from warmup.state.api import (
    Home,
    HostCheck,
    check_caches,
    check_disk,
    check_driver,
    check_home,
    check_locks,
    check_open_files,
    check_shm,
)
from warmup.words.errors import EXIT_HOST, EXIT_OK

_MIB = 1 << 20


def doctor(session: Session, *, gate: bool = False, json_output: bool = False) -> int:
    """Print a line per check: `ok|warn|fail  name  detail  hint`. Returns 0, or 3 if any failed.

    gate: whether a runner may take jobs; also 3 where a check found the host unsafe for that, and a
    verdict with its reasons. Leaves nothing behind.
    """
    checks = examine(session.home, session.env)
    reasons = [
        f"{each.name}: {each.detail}"
        for each in checks
        if each.level == "fail" or (gate and each.is_unsafe)
    ]
    status = EXIT_HOST if reasons else EXIT_OK
    document: dict[str, object] = {"schema": 1, "exit_code": status, "checks": checks}
    lines = [*_render(checks)]
    if gate:
        verdict = "unfit" if reasons else "fit"
        document |= {"verdict": verdict, "reasons": reasons}
        lines += [f"verdict: {verdict}", *(f"  {reason}" for reason in reasons)]
    show(document, lines, json_output=json_output)
    return status


def examine(home: Home, env: Mapping[str, str]) -> list[HostCheck]:
    """Every check, in a fixed order; those of one kind may give several.

    env: the servers' environment, which says where the caches lie.
    """
    return [
        *check_driver(env),
        *check_gpu_processes(),
        *check_stuck(),
        *check_home(home),
        *check_disk(home, env),
        *check_locks(home),
        *check_shm(),
        *check_caches(env),
        *check_open_files(),
        *check_kernel(),
    ]


def check_gpu_processes() -> list[HostCheck]:
    """Orphans have held some 100 GB a GPU (sglang#23627); whose they are is for `reap` to know."""
    from warmup.supervise.api import get_command
    from warmup.supervise.api import read_gpus as read_memory

    found = []
    gpus = read_memory()
    for gpu in gpus:
        holders = ", ".join(f"pid {pid} ({get_command(pid)})" for pid in gpu.pids)
        if holders or gpu.used_bytes > max(1 << 30, gpu.total_bytes // 20):
            detail = f"{gpu.used_bytes // _MIB} of {gpu.total_bytes // _MIB} MiB of GPU {gpu.index}"
            detail += f" are held by {holders or 'processes that cannot be seen from here'}"
            hint = "`warmup-ci reap` ends what earlier runs left; other jobs may own the rest"
            is_unsafe = not holders  # nobody whose end would give it back
            found.append(HostCheck("warn", "gpu processes", detail, hint, is_unsafe=is_unsafe))
    if gpus and not found:
        found.append(HostCheck("ok", "gpu processes", f"none on {get_count(len(gpus), 'GPU')}"))
    return found


def check_stuck() -> list[HostCheck]:
    """A process that hangs in the driver cannot be ended, and each job there fails after minutes
    (sglang#29408)."""
    from warmup.supervise.api import list_stuck_in_driver

    hint = "only a reset of the GPU or a reboot ends it"
    return [
        HostCheck("warn", "stuck", f"{each}, waits in the driver", hint, is_unsafe=True)
        for each in list_stuck_in_driver()
    ]


def check_kernel() -> list[HostCheck]:
    """What supervision stands on, and what is left without it (design.md section 7)."""
    from warmup.supervise.api import find_missing_guarantees

    missing = [HostCheck("warn", "kernel", each) for each in find_missing_guarantees()]
    return missing or [HostCheck("ok", "kernel", "/proc, pidfd, subreaper and process marks work")]


def _render(checks: Sequence[HostCheck]) -> Iterator[str]:
    width = max(len(each.name) for each in checks)
    for each in checks:
        hint = f"  hint: {each.hint}" if each.hint else ""
        yield f"{each.level:4}  {each.name:{width}}  {each.detail}{hint}"
