"""The same warm-up as a Slurm array or a Kubernetes Indexed Job: texts for their schedulers. Pure.

Each of their tasks is `run --shard I/N`; nothing of ours runs between them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from warmup.words.errors import UsageError

# From the TERM that a scheduler sends to its KILL: a server's grace, the end of its tree, the log.
TERM_S = 60
# Beside the caches, where a task keeps its home; on a machine that only it uses.
_ROOT = "/warmup"
_WORKFLOW = "/etc/warmup-ci/workflow.toml"
_USER = 1000
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """num_shards: tasks. pinned: cold seconds of each model, for all tasks alike; may be empty.

    num_gpus: the most that one of its models needs; 0 asks the scheduler for none. args: what
    `run` is given beside the shard.
    """

    num_shards: int
    pinned: tuple[int, ...]
    num_gpus: int
    args: tuple[str, ...]

    def get_shard(self, index: str) -> str:
        """What stands behind `--shard`, in double quotes. index: as a shell computes it, from 1."""
        at = f"@{','.join(map(str, self.pinned))}" if self.pinned else ""
        return f'"{index}/{self.num_shards}{at}"'


def make_slurm_script(
    fleet: Fleet, sbatch_args: Sequence[str], *, is_per_node: bool, program: str
) -> str:
    """For `sbatch`. sbatch_args: more of its options, which win over ours.

    is_per_node: one job on as many nodes as sbatch_args ask for, and each warms every model into a
    cache of its own; else one array task per shard. Raises UsageError for a broken line.
    """
    options = ["--job-name=warmup-ci"]
    run = shlex.join([program, "run", *fleet.args, "--jobs", "auto"])
    if fleet.num_gpus:
        options.append(f"--gres=gpu:{fleet.num_gpus}")
    if is_per_node:
        options += ["--ntasks-per-node=1", "--exclusive", f"--signal=TERM@{TERM_S}"]
        body = [
            "# On the node's own disk: a shared home would make the first node speak for all.",
            'export WARMUP_CI_HOME="${WARMUP_CI_HOME:-/var/tmp/warmup-ci-$(id -u)}"',
            'export WARMUP_CI_CACHE_ROOT="${WARMUP_CI_CACHE_ROOT:-$WARMUP_CI_HOME/caches}"',
            f"exec srun --ntasks-per-node=1 --kill-on-bad-exit=0 {run}",
        ]
    else:
        options += [f"--array=1-{fleet.num_shards}", "--nodes=1", "--ntasks=1", "--requeue"]
        options.append(f"--signal=B:TERM@{TERM_S}")
        shard = fleet.get_shard("$SLURM_ARRAY_TASK_ID")
        body = [
            "# exec: Slurm signals the script's own process, which must be the run itself.",
            f"exec {run} --shard {shard}",
        ]
    options.append("--open-mode=append")
    lines = [f"#SBATCH {option}" for option in (*options, *map(_quote_option, sbatch_args))]
    return "\n".join(["#!/bin/bash", *lines, "", *body, ""])


def _quote_option(option: str) -> str:
    if "\n" in option or "\r" in option or not option.startswith("-"):
        raise UsageError(
            f"not an option of sbatch: {option!r}",
            hint="write each as one word after --: fleet slurm -- --partition=h200 --time=01:00:00",
        )
    return shlex.quote(option)


@dataclass(frozen=True, kw_only=True)
class KubernetesOptions:
    """image: with warmup-ci and the engine. name: of the job and what belongs to it.

    pack: an image whose caches are laid under the root, "" for none. queue: Kueue's, "" for none.
    claim: a PersistentVolumeClaim that keeps the root; "" keeps it as long as its pod. gpu: the
    resource that a GPU is. deadline_s: of the whole job.
    """

    image: str
    name: str = "warmup-ci"
    pack: str = ""
    queue: str = ""
    claim: str = ""
    gpu: str = "nvidia.com/gpu"
    deadline_s: int | None = None


def make_kubernetes_list(fleet: Fleet, workflow: str, options: KubernetesOptions) -> dict[str, Any]:
    """A ConfigMap with the workflow's text and the Indexed Job, for `kubectl apply -f -`.

    fleet.args: without the workflow. Raises UsageError for a name that no object can have.
    """
    if not _LABEL.fullmatch(options.name):
        raise UsageError(
            f"not a name for a job: {options.name!r}",
            cause="a name has up to 63 of a-z, 0-9 and -, and no - at its ends",
        )
    meta = {"name": options.name, "labels": {"app.kubernetes.io/name": "warmup-ci"}}
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta,
        "data": {"workflow.toml": workflow},
    }
    return {"apiVersion": "v1", "kind": "List", "items": [config, _make_job(fleet, options, meta)]}


def _make_job(fleet: Fleet, options: KubernetesOptions, meta: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "completionMode": "Indexed",
        "completions": fleet.num_shards,
        "parallelism": fleet.num_shards,
        "backoffLimitPerIndex": 1,
        "template": {"metadata": {"labels": meta["labels"]}, "spec": _make_pod(fleet, options)},
    }
    if options.deadline_s is not None:
        spec["activeDeadlineSeconds"] = options.deadline_s
    if options.queue:
        labels = {**meta["labels"], "kueue.x-k8s.io/queue-name": options.queue}
        meta = {**meta, "labels": labels}
        spec["suspend"] = True  # Kueue lets it go
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}


def _make_pod(fleet: Fleet, options: KubernetesOptions) -> dict[str, Any]:
    root = {"persistentVolumeClaim": {"claimName": options.claim}} if options.claim else _EMPTY
    volumes: list[dict[str, Any]] = [
        {"name": "root", **root},
        {"name": "tmp", **_EMPTY},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},  # ranks talk to each other there
        {"name": "workflow", "configMap": {"name": options.name}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "root", "mountPath": _ROOT},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "workflow", "mountPath": _WORKFLOW.rpartition("/")[0], "readOnly": True},
    ]
    if options.pack:
        image = {"reference": options.pack, "pullPolicy": "IfNotPresent"}
        volumes.append({"name": "pack", "image": image})
        mounts.append({"name": "pack", "mountPath": "/pack", "readOnly": True})
    container = {
        "name": "warmup",
        "image": options.image,
        "command": ["sh", "-c", _make_command(fleet, options)],
        "env": [
            {"name": "HOME", "value": f"{_ROOT}/user"},
            {"name": "WARMUP_CI_HOME", "value": f"{_ROOT}/home"},
            {"name": "WARMUP_CI_CACHE_ROOT", "value": f"{_ROOT}/caches"},
        ],
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if fleet.num_gpus:
        container["resources"] = {"limits": {options.gpu: fleet.num_gpus}}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": TERM_S,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }


_EMPTY: dict[str, Any] = {"emptyDir": {}}


def _make_command(fleet: Fleet, options: KubernetesOptions) -> str:
    """Indices count from 0. A pack is copied, mtimes kept, and never written: what it holds makes
    the boot short, and that boot still is what makes a marker."""
    shard = fleet.get_shard("$((JOB_COMPLETION_INDEX + 1))")
    copy = 'mkdir -p "$WARMUP_CI_CACHE_ROOT" && cp -a /pack/. "$WARMUP_CI_CACHE_ROOT" && '
    run = shlex.join(["warmup-ci", "run", "--workflow", _WORKFLOW, *fleet.args, "--jobs", "auto"])
    return f"{copy if options.pack else ''}exec {run} --shard {shard}"
