from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from warmup.engine.backends import load
from warmup.engine.tiny.make import FAMILIES, make_tiny
from warmup.words.errors import UsageError

MAKE = (sys.executable, "-m", "warmup.engine.serve", "--make-tiny")


def get_digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_every_maker_is_there() -> None:
    for target in FAMILIES.values():
        assert callable(load(target))


def test_the_same_family_is_the_same_bytes(tmp_path: Path) -> None:
    first = get_digests(make_tiny("flux2", str(tmp_path / "a" / "b")))
    assert "model_index.json" in first
    assert first == get_digests(make_tiny("flux2", str(tmp_path / "c")))


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="not an empty folder"):
        make_tiny("sd3", str(tmp_path))
    with pytest.raises(UsageError, match="not an empty folder"):
        make_tiny("sd3", str(tmp_path / "mine"))


def test_an_unknown_family_is_a_usage_error(tmp_path: Path) -> None:
    command = [*MAKE, "sdxl", str(tmp_path / "x")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no tiny checkpoint of family 'sdxl'" in done.stderr
    assert "qwen-image-edit" in done.stderr
    assert not (tmp_path / "x").exists()


def test_the_path_goes_to_stdout(tmp_path: Path) -> None:
    command = [*MAKE, "sd3", str(tmp_path / "x"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == {"schema": 1, "family": "sd3", "path": str(tmp_path / "x")}
