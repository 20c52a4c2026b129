"""Process trees that end when they must: servers, readiness, requests, logs, ports, GPU memory.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from warmup.supervise.attached import run_attached
from warmup.supervise.boot import HEARTBEAT_S, Boot
from warmup.supervise.cancel import CancelWatch
from warmup.supervise.gpu_memory import Gpu, read_gpus, select_gpus, wait_until_free
from warmup.supervise.job import Job, die_with
from warmup.supervise.log.tail import read_tail
from warmup.supervise.phases import Phases
from warmup.supervise.ports import lease_ports, peek_ports
from warmup.supervise.stuck import list_stuck_in_driver
from warmup.supervise.tree.exec_error import NotExecutable
from warmup.supervise.tree.guarantees import find_missing_guarantees
from warmup.supervise.tree.proc import get_command
from warmup.supervise.tree.reap import ReapReport, has_to_be_reaped, reap_run, reap_runs
from warmup.supervise.tree.supervisor import Supervisor
from warmup.supervise.watch.holders import EntryHolders

__all__ = [
    "HEARTBEAT_S",
    "Boot",
    "CancelWatch",
    "EntryHolders",
    "Gpu",
    "Job",
    "NotExecutable",
    "Phases",
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
