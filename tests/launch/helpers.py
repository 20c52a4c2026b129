"""Launches and folders for the tests of the engines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from warmup.launch.launch import Launch, Slots


def make_launch(engine: str, model: str = "org/model", **settings: Any) -> Launch:
    base: dict[str, Any] = {"model": model, "tp": 1, "engine": engine, "python": sys.executable}
    return msgspec.convert({**base, **settings}, Launch)


def make_slots(run_dir: Path | str = "/run", *, num_extra_ports: int = 0, gpus: str = "") -> Slots:
    return Slots(
        port=21000,
        extra_ports=tuple(range(21001, 21001 + num_extra_ports)),
        gpus=gpus,
        run_dir=str(run_dir),
        workflow_dir="/flows",
    )


def make_folder(path: Path, **files: Any) -> Path:
    """A folder with these JSON files: `config={…}` is config.json."""
    path.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        (path / f"{name}.json").write_text(json.dumps(value))
    return path


def make_qwen_vl(path: Path) -> Path:
    return make_folder(path, config={"architectures": ["Qwen2_5_VLForConditionalGeneration"]})


def make_pipeline(path: Path, name: str) -> Path:
    return make_folder(path, model_index={"_class_name": name})
