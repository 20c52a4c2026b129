"""`warmup-ci doctor`: is this host fit to warm models?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from warmup.commands import doctor_gpu, doctor_host
from warmup.commands.doctor_finding import Finding
from warmup.commands.session import Session
from warmup.report.output import show
from warmup.state.home import Home
from warmup.words.errors import EXIT_HOST, EXIT_OK


def doctor(session: Session, *, json_output: bool = False) -> int:
    """Print a line per check: `ok|warn|fail  name  detail  hint`. Returns 0, or 3 if any failed.

    Leaves nothing behind.
    """
    findings = examine(session.home, session.env)
    status = EXIT_HOST if any(each.level == "fail" for each in findings) else EXIT_OK
    document = {"schema": 1, "exit_code": status, "checks": findings}
    show(document, _render(findings), json_output=json_output)
    return status


def _render(findings: Sequence[Finding]) -> Iterator[str]:
    width = max(len(each.name) for each in findings)
    for each in findings:
        hint = f"  hint: {each.hint}" if each.hint else ""
        yield f"{each.level:4}  {each.name:{width}}  {each.detail}{hint}"


def examine(home: Home, env: Mapping[str, str]) -> list[Finding]:
    """Every finding, in a fixed order; checks of one kind may give several."""
    return [
        *doctor_gpu.check_driver(env),
        *doctor_gpu.check_gpu_processes(),
        *doctor_host.check_home(home),
        *doctor_host.check_disk(home, env),
        *doctor_host.check_locks(home),
        *doctor_host.check_shm(),
        *doctor_host.check_caches(env),
        *doctor_host.check_open_files(),
        *doctor_host.check_kernel(),
    ]
