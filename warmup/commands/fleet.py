"""`warmup-ci fleet slurm` and `fleet kubernetes`: the same warm-up for a scheduler of machines."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from warmup.commands.session import Session
from warmup.report.api import DataOutput, show
from warmup.state.api import Marker, list_markers
from warmup.words.errors import EXIT_OK, UsageError
from warmup.words.files import read_regular
from warmup.workflow.api import (
    MAX_WORKFLOW_BYTES,
    Fleet,
    KubernetesOptions,
    find_recorded,
    make_kubernetes_list,
    make_slurm_script,
    pin_seconds,
)


def slurm(
    session: Session,
    *,
    shards: int | None = None,
    gpus: int | None = None,
    per_node: bool = False,
    sbatch_args: Sequence[str] = (),
) -> int:
    """Print a script for `sbatch`. shards: None for one a model. gpus: of a task; None: the
    largest TP. per_node: each node warms a cache of its own. Raises UsageError."""
    workflow = session.chosen.workflow
    args = () if workflow is None else ("--workflow", str((session.cwd / workflow).absolute()))
    fleet = _make_fleet(session, shards, gpus, (*args, *_list_args(session)))
    program = shutil.which("warmup-ci", path=str(Path(sys.executable).parent)) or "warmup-ci"
    script = make_slurm_script(fleet, sbatch_args, is_per_node=per_node, program=program)
    DataOutput(sys.stdout).line(script.rstrip("\n"))
    return EXIT_OK


def kubernetes(
    session: Session,
    *,
    image: str,
    name: str,
    pack: str,
    queue: str,
    claim: str,
    gpu_resource: str,
    shards: int | None = None,
    gpus: int | None = None,
) -> int:
    """Print a ConfigMap and an Indexed Job as JSON, for `kubectl apply -f -`. Raises UsageError."""
    workflow = session.resolved.workflow
    if workflow is None:
        raise UsageError("a job in a cluster needs a workflow", hint="give --workflow FILE")
    text = read_regular(workflow.path, MAX_WORKFLOW_BYTES, follow=True).decode()
    deadline_s = session.resolved.deadline_s
    options = KubernetesOptions(
        image=image,
        name=name,
        pack=pack,
        queue=queue,
        claim=claim,
        gpu=gpu_resource,
        deadline_s=None if deadline_s is None else round(deadline_s),
    )
    fleet = _make_fleet(session, shards, gpus, _list_args(session))
    show(make_kubernetes_list(fleet, text, options), (), json_output=True)
    return EXIT_OK


def _make_fleet(
    session: Session, num_shards: int | None, num_gpus: int | None, args: tuple[str, ...]
) -> Fleet:
    launches = session.get_launches()
    markers = [each for each in list_markers(session.home) if isinstance(each, Marker)]
    return Fleet(
        num_shards=len(launches) if num_shards is None else min(num_shards, len(launches)),
        pinned=pin_seconds(launches, find_recorded(launches, markers)),
        num_gpus=max(launch.tp for launch in launches) if num_gpus is None else num_gpus,
        args=args,
    )


def _list_args(session: Session) -> tuple[str, ...]:
    """What was said on the command line, for the command line of each task."""
    selection = session.chosen
    said = {
        "--engine": selection.engine,
        "--cache-root": selection.cache_root,
        "--python": selection.settings.python or None,
    }
    models = (f"--models={model}" for model in selection.models)
    return (*models, *(f"{name}={value}" for name, value in said.items() if value is not None))
