"""docs/engine.md walks through files that are there, in a length that an hour can hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import warmup.engine

ENGINE = Path(warmup.engine.__path__[0])
PAGE = (Path(__file__).parents[2] / "docs" / "engine.md").read_text()


def test_the_walk_names_files_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    walk = re.findall(r"^\| `([\w/]+\.py)` \| .+\. \|$", PAGE, re.MULTILINE)
    assert len(walk) == PAGE.count("\n| `") and len(set(walk)) == len(walk)
    lines = {name: len((ENGINE / name).read_text().splitlines()) for name in walk}
    with capsys.disabled():
        print(f" {sum(lines.values())} lines in {len(lines)} files")
    assert 1000 < sum(lines.values()) < 4000


def test_every_file_that_the_page_names_exists() -> None:
    for name in re.findall(r"`([\w/]+\.py)`", PAGE):
        assert (ENGINE / name).is_file() or (ENGINE / "kernels" / name).is_file(), name
