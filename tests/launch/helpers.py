"""Launches and folders for the tests of the engines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from warmup.launch.engine import Allocation
from warmup.launch.engine_table import get_engine
from warmup.launch.launch import Launch, RequestSpec


def make_launch(engine: str, model: str = "org/model", **settings: Any) -> Launch:
    base: dict[str, Any] = {"model": model, "tp": 1, "engine": engine, "python": sys.executable}
    return msgspec.convert({**base, **settings}, Launch)


def make_allocation(
    run_dir: Path | str = "/run", *, num_extra_ports: int = 0, gpus: str = ""
) -> Allocation:
    return Allocation(
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


def make_vision_folder(path: Path, **config: Any) -> Path:
    """A vision-language model's folder, as far as a launcher reads it."""
    config = {"vision_config": {"depth": 1}, "architectures": ["ByVisionConfig"], **config}
    return make_folder(path, config=config, tokenizer_config={"chat_template": "x"})


def make_snapshot(hub: Path, model: str, commit: str = "a" * 40) -> Path:
    """An empty folder in a hub cache (`HF_HUB_CACHE`) that holds `main` of this model."""
    folder = hub / ("models--" + model.replace("/", "--"))
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    return folder / "snapshots" / commit


def make_qwen_vl(path: Path) -> Path:
    return make_folder(path, config={"architectures": ["Qwen2_5_VLForConditionalGeneration"]})


def make_pipeline(path: Path, name: str) -> Path:
    return make_folder(path, model_index={"_class_name": name})


def get_request(launch: Launch, **env: str) -> RequestSpec:
    """The warm-up request of this launch. env: of its server."""
    return get_engine(launch.engine).get_request(launch, env)


def judge(launch: Launch, status: int, body: bytes) -> str | None:
    """What is wrong with this answer to it."""
    return get_engine(launch.engine).find_fault(launch, get_request(launch), status, body)
