"""Process trees that end when they must: servers, readiness, requests, logs, ports, GPU memory.

The face of this room: other rooms import it alone. Each name is loaded when it is
asked for: `exec` is to be up soon, and needs few of these files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmup.words.lazy import load_lazily

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
    from warmup.supervise.tree.ledger import has_to_be_reaped
    from warmup.supervise.tree.proc import get_command
    from warmup.supervise.tree.reap import ReapReport, reap_run, reap_runs
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

if not TYPE_CHECKING:
    __getattr__ = load_lazily(
        __name__,
        {
            "attached": "run_attached",
            "boot": "Boot",
            "cancel": "CancelWatch",
            "gpu_memory": "Gpu read_gpus select_gpus wait_until_free",
            "job": "ANSWERS Job die_with",
            "limits": "Limits",
            "log.tail": "read_tail",
            "phases": "Phases",
            "ports": "PortLease lease_ports peek_ports",
            "stuck": "list_stuck_in_driver",
            "tree.exec_error": "NotExecutable",
            "tree.guarantees": "find_missing_guarantees",
            "tree.proc": "get_command",
            "tree.ledger": "has_to_be_reaped",
            "tree.reap": "ReapReport reap_run reap_runs",
            "tree.supervisor": "Supervisor",
            "watch.holders": "EntryHolders",
        },
    )
