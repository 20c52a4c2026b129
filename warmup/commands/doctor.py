"""`warmup-ci doctor`: is this host fit to warm models?"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from warmup.commands import doctor_gpu, doctor_host
from warmup.commands.doctor_finding import Finding
from warmup.report.output import DataOutput
from warmup.state.home import Home
from warmup.words.encoding import encode_json
from warmup.words.errors import EXIT_HOST, EXIT_OK
from warmup.words.escape import get_printable


def doctor(home: Home, env: Mapping[str, str], *, json_output: bool = False) -> int:
    """Print a line per check: `ok|warn|fail  name  detail  hint`. Returns 0, or 3 if any failed.

    env: the servers' environment, which says where the caches lie. Leaves nothing behind.
    """
    findings = examine(home, env)
    status = EXIT_HOST if any(each.level == "fail" for each in findings) else EXIT_OK
    out = DataOutput(sys.stdout)
    if json_output:
        document = {"schema": 1, "exit_code": status, "checks": findings}
        out.line(encode_json(document).decode())
        return status
    width = max(len(each.name) for each in findings)
    for each in findings:
        hint = f"  hint: {each.hint}" if each.hint else ""
        out.line(get_printable(f"{each.level:4}  {each.name:{width}}  {each.detail}{hint}"))
    return status


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
