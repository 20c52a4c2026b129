"""Launch keys and marker names stay what they were: one that moves turns every runner cold."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from tests.launch.golden_launches import GOLDEN, iter_folders, iter_launches
from warmup.launch.launch import Launch
from warmup.state.marker import get_marker_name

VERSION_KEY = "0123456789abcdef"


def describe(fields: dict[str, Any]) -> list[Any]:
    """Key, marker's name and parallel sizes of a launch."""
    launch = Launch(**fields)
    sizes = launch.record.sizes
    return [
        launch.key,
        get_marker_name(launch, VERSION_KEY),
        [sizes.tp, sizes.dp, sizes.ep, sizes.cfg],
    ]


def describe_folder(files: dict[str, str]) -> list[str | None]:
    """Digest of a local model's configuration, and the key where that folder is `/models/x`."""
    with tempfile.TemporaryDirectory() as name:
        for path, content in files.items():
            file = Path(name) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        launch = Launch(model=name, tp=2, engine="sglang", python="python3")
        record = msgspec.structs.replace(launch.record, model="/models/x")
    return [record.config, record.key]


def test_no_key_and_no_name_has_moved() -> None:
    golden = json.loads(GOLDEN.read_text())["launches"]
    launches = list(iter_launches())
    assert len(launches) == len(golden) > 180
    for fields, expected in zip(launches, golden, strict=True):
        assert describe(fields) == expected, fields


def test_no_local_models_key_has_moved() -> None:
    golden = json.loads(GOLDEN.read_text())["folders"]
    assert [describe_folder(files) for files in iter_folders()] == golden


def test_the_launches_differ_where_they_should() -> None:
    """Few keys are equal: spellings of one flag, and what is not in a key."""
    keys = [each[0] for each in json.loads(GOLDEN.read_text())["launches"]]
    assert len(set(keys)) >= len(keys) - 12
