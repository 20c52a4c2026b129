from __future__ import annotations

import os
from pathlib import Path

import pytest

from warmup.words import program

HOME = str(Path(program.__file__).parents[2])


def test_a_checkout_is_named_before_what_is_there() -> None:
    assert program.find_checkout({}) == {"PYTHONPATH": HOME}
    assert program.find_checkout({"PYTHONPATH": "/a"}) == {"PYTHONPATH": f"{HOME}{os.pathsep}/a"}
    env = program.make_env({"PYTHONPATH": "/a", "X": "1"})
    assert env == {"PYTHONPATH": f"{HOME}:/a", "X": "1", "PYTHONSAFEPATH": "1"}


@pytest.mark.parametrize("name", ["site-packages", "dist-packages"])
def test_an_installed_one_is_found_by_itself(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(program, "_HOME", Path("/usr/lib") / name)
    assert program.find_checkout({"PYTHONPATH": "/a"}) == {}
    assert program.make_env({"PYTHONPATH": "/a"}) == {"PYTHONPATH": "/a", "PYTHONSAFEPATH": "1"}
