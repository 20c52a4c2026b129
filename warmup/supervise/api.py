"""Process trees that end when they must: servers, readiness, requests, logs, ports, GPU memory.

The face of this room: other rooms import it alone. Each name is loaded when it is
asked for: `exec` is to be up soon, and needs few of these files.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from warmup.supervise.attached import run_attached
    from warmup.supervise.boot import Boot
    from warmup.supervise.cancel import CancelWatch
    from warmup.supervise.gpu_memory import Gpu, read_gpus, select_gpus, wait_until_free
    from warmup.supervise.job import ANSWERS, Job, die_with
    from warmup.supervise.limits import Limits
    from warmup.supervise.log.tail import read_tail
    from warmup.supervise.phases import Phases
    from warmup.supervise.ports import PortLease, lease_ports, peek_ports
    from warmup.supervise.stuck import list_stuck_in_driver
    from warmup.supervise.tree.exec_error import NotExecutable
    from warmup.supervise.tree.guarantees import find_missing_guarantees
    from warmup.supervise.tree.proc import get_command
    from warmup.supervise.tree.reap import ReapReport, has_to_be_reaped, reap_run, reap_runs
    from warmup.supervise.tree.supervisor import Supervisor
    from warmup.supervise.watch.holders import EntryHolders

__all__ = [
    "ANSWERS",
    "Boot",
    "CancelWatch",
    "EntryHolders",
    "Gpu",
    "Job",
    "Limits",
    "NotExecutable",
    "Phases",
    "PortLease",
    "ReapReport",
    "Supervisor",
    "die_with",
    "find_missing_guarantees",
    "get_command",
    "has_to_be_reaped",
    "lease_ports",
    "list_stuck_in_driver",
    "peek_ports",
    "read_gpus",
    "read_tail",
    "reap_run",
    "reap_runs",
    "run_attached",
    "select_gpus",
    "wait_until_free",
]

_PLACES = {
    "ANSWERS": "job",
    "Boot": "boot",
    "CancelWatch": "cancel",
    "EntryHolders": "watch.holders",
    "Gpu": "gpu_memory",
    "Job": "job",
    "Limits": "limits",
    "NotExecutable": "tree.exec_error",
    "Phases": "phases",
    "PortLease": "ports",
    "ReapReport": "tree.reap",
    "Supervisor": "tree.supervisor",
    "die_with": "job",
    "find_missing_guarantees": "tree.guarantees",
    "get_command": "tree.proc",
    "has_to_be_reaped": "tree.reap",
    "lease_ports": "ports",
    "list_stuck_in_driver": "stuck",
    "peek_ports": "ports",
    "read_gpus": "gpu_memory",
    "read_tail": "log.tail",
    "reap_run": "tree.reap",
    "reap_runs": "tree.reap",
    "run_attached": "attached",
    "select_gpus": "gpu_memory",
    "wait_until_free": "gpu_memory",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"warmup.supervise.{_PLACES[name]}"), name)
