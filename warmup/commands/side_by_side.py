"""What `run --jobs` looks at first: what is free on this host, and what each model needs of it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from warmup.commands.session import Session
from warmup.jobs import Task
from warmup.launch.api import Launch
from warmup.state.api import Marker, MarkerCheck, list_markers
from warmup.workflow.api import Slots, find_recorded, get_default_seconds

_WEIGHTS = (".safetensors", ".bin", ".pt", ".gguf")


def make_slots(session: Session, num_jobs: str) -> Slots:
    """num_jobs: a number, or `auto`. A target's GPUs are not here, so each model has its own."""
    import psutil

    return Slots(
        max_jobs=None if num_jobs == "auto" else int(num_jobs),
        gpus=[] if session.seeding is not None else [*session.get_visible_gpus()],
        cores=len(os.sched_getaffinity(0)),
        size_bytes=psutil.virtual_memory().available,
    )


def make_tasks(
    session: Session, slots: Slots, cold: Sequence[tuple[int, Launch, MarkerCheck]], *, force: bool
) -> list[Task]:
    """cold: place among the launches, launch, and what its marker says."""
    markers = [each for each in list_markers(session.home) if isinstance(each, Marker)]
    recorded = find_recorded([launch for _, launch, _ in cold], markers)
    return [
        Task(
            launch=launch,
            check=check,
            index=index,
            cost=seconds or get_default_seconds(launch),
            need=slots.get_need(launch, _find_weights_bytes(session, launch)),
            is_alone=check.state == "seeded" and not force,
        )
        for (index, launch, check), seconds in zip(cold, recorded, strict=True)
    ]


def _find_weights_bytes(session: Session, launch: Launch) -> int:
    """0 where they are not here yet, or not needed: on a target they are random."""
    if session.get_boot_launch(launch).weights == "dummy":
        return 0
    folder = launch.find_files(session.env)
    if folder is None or not folder.is_dir():
        return 0
    files = (path for path in folder.rglob("*") if path.suffix in _WEIGHTS)
    return sum(path.stat().st_size for path in files if path.is_file())
