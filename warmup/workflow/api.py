"""What is to be warmed: workflow files, model specs, selection, settings, verdicts.

The face of this room: other rooms import it alone.
"""

from __future__ import annotations

from warmup.workflow.file import MAX_BYTES as MAX_WORKFLOW_BYTES
from warmup.workflow.fleet import (
    Fleet,
    KubernetesOptions,
    make_kubernetes_list,
    make_slurm_script,
)
from warmup.workflow.gpus import Need, Slots, assign, get_visible
from warmup.workflow.job_spec import JobError, JobSpec, merge_proof
from warmup.workflow.log_names import make_log_names
from warmup.workflow.selection import Resolved, Selection, load
from warmup.workflow.settings import FIELDS, Settings
from warmup.workflow.shards import (
    Matrix,
    find_recorded,
    get_default_seconds,
    make_matrix,
    parse_runner,
    pin_seconds,
    split,
)
from warmup.workflow.verdict import get_reason, is_done, make_unlaunched

__all__ = [
    "FIELDS",
    "MAX_WORKFLOW_BYTES",
    "Fleet",
    "JobError",
    "JobSpec",
    "KubernetesOptions",
    "Matrix",
    "Need",
    "Resolved",
    "Selection",
    "Settings",
    "Slots",
    "assign",
    "find_recorded",
    "get_default_seconds",
    "get_reason",
    "get_visible",
    "is_done",
    "load",
    "make_kubernetes_list",
    "make_log_names",
    "make_matrix",
    "make_slurm_script",
    "make_unlaunched",
    "merge_proof",
    "parse_runner",
    "pin_seconds",
    "split",
]
