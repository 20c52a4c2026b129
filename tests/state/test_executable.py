from __future__ import annotations

from pathlib import Path

import pytest

from warmup.state.executable import find_on_path


def test_the_first_that_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("plain", "folder", "good", "relative"):
        (tmp_path / name).mkdir()
    (tmp_path / "plain" / "tool").write_text("")
    (tmp_path / "folder" / "tool").mkdir()
    for name in ("good", "relative"):
        (tmp_path / name / "tool").write_text("")
        (tmp_path / name / "tool").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    folders = ["", "relative", *(f"{tmp_path}/{name}" for name in ("none", "plain", "folder"))]
    env = {"PATH": ":".join([*folders, f"{tmp_path}/good/"])}
    assert find_on_path("tool", env) == f"{tmp_path}/good/tool"
    assert find_on_path("other-tool", env) is None
    assert find_on_path("sh", {}) == "/bin/sh"
