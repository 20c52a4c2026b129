from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from warmup.state import interpreter
from warmup.state.interpreter import get_interpreter
from warmup.words.errors import UsageError


def make_script(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_this_one_needs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("started one"))
    own = get_interpreter("", os.environ)
    assert own.version.startswith(platform.python_version())
    assert any(path.endswith("site-packages") for path in own.paths)
    assert get_interpreter(sys.executable, os.environ) == own


def test_a_venv_is_not_the_python_it_was_made_from(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    command = [sys.executable, "-m", "venv", "--without-pip", str(venv)]
    subprocess.run(command, check=True, timeout=60)
    found = get_interpreter(str(venv / "bin" / "python"), {})
    assert found.version == get_interpreter("", {}).version
    assert any(path.startswith(str(venv)) for path in found.paths)
    own_site = [
        path for path in get_interpreter("", os.environ).paths if path.endswith("site-packages")
    ]
    assert not set(own_site) & set(found.paths)


def test_a_pth_file_and_pythonpath_count(tmp_path: Path) -> None:
    venv, extra, named = tmp_path / "venv", tmp_path / "extra", tmp_path / "named"
    extra.mkdir()
    named.mkdir()
    command = [sys.executable, "-m", "venv", "--without-pip", "--system-site-packages", str(venv)]
    subprocess.run(command, check=True, timeout=60)
    [site] = venv.glob("lib/python*/site-packages")
    (site / "extra.pth").write_text(f"{extra}\n")
    found = get_interpreter(str(venv / "bin" / "python"), {"PYTHONPATH": str(named)})
    assert str(extra) in found.paths
    assert str(named) in found.paths


def test_another_in_the_same_folder_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python-a").symlink_to(sys.executable)
    other = make_script(tmp_path / "python-b", "#!/bin/sh\nexit 3\n")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python-a"))
    with pytest.raises(UsageError, match="python-b"):
        get_interpreter(other, os.environ)


def test_this_one_under_another_pythonpath_is_asked(tmp_path: Path) -> None:
    found = get_interpreter("", {**os.environ, "PYTHONPATH": str(tmp_path)})
    assert str(tmp_path) in found.paths
    assert str(tmp_path) not in get_interpreter("", os.environ).paths


def test_a_name_is_looked_for_on_path(tmp_path: Path) -> None:
    (tmp_path / "snake").symlink_to(sys.executable)
    found = get_interpreter("snake", {"PATH": str(tmp_path)})
    assert found.version == get_interpreter("", {}).version


def test_a_chatty_sitecustomize_does_not_disturb(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hello'); import sys; sys.stdout.write('x')")
    (tmp_path / "snake").symlink_to(sys.executable)
    found = get_interpreter(str(tmp_path / "snake"), {"PYTHONPATH": str(tmp_path)})
    assert found.version == get_interpreter("", {}).version


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("#!/bin/sh\necho no Python >&2\nexit 3\n", "exit status 3: no Python"),
        ("#!/bin/sh\n", "it printed nothing"),
        ("#!/nowhere/python\n", "No such file"),
    ],
)
def test_what_does_not_answer(tmp_path: Path, text: str, cause: str) -> None:
    python = make_script(tmp_path / "python", text)
    with pytest.raises(UsageError) as caught:
        get_interpreter(python, {})
    assert python in caught.value.what
    assert cause in (caught.value.cause or "")
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("python", ["/nowhere/python", "no-such-python"])
def test_what_is_not_there(python: str) -> None:
    with pytest.raises(UsageError, match=python) as caught:
        get_interpreter(python, {"PATH": "/usr/bin"})
    assert "--python" in (caught.value.hint or "")


def make_venv(path: Path) -> Path:
    command = [sys.executable, "-m", "venv", "--without-pip", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return path


def test_a_venv_is_read_as_it_would_answer_and_not_run(tmp_path: Path) -> None:
    venv, extra = make_venv(tmp_path / "venv"), tmp_path / "extra"
    extra.mkdir()
    [site] = venv.glob("lib/python*/site-packages")
    (site / "extra.pth").write_text(f"# where more lies\n{extra}\n/nowhere\n")
    (site / "distutils-precedence.pth").write_text("import os; os\n")
    python, env = str(venv / "bin" / "python"), {"PYTHONPATH": "/named:/too", "HOME": str(tmp_path)}
    read = get_interpreter(python, env, may_run=False)
    answered = interpreter._probe(python, (0, 0), tuple(env.items()))
    assert read == answered
    assert str(extra) in read.paths


@pytest.mark.parametrize("how", ["script", "sitecustomize", "pth", "system site", "PYTHONHOME"])
def test_what_only_running_tells_is_not_run_by_who_looks(tmp_path: Path, how: str) -> None:
    """`plan` once ran whatever a workflow called its python (F23)."""
    venv, ran = make_venv(tmp_path / "venv"), tmp_path / "ran"
    python, env = venv / "bin" / "python", {"HOME": str(tmp_path)}
    [site] = venv.glob("lib/python*/site-packages")
    code = f"import pathlib; pathlib.Path({str(ran)!r}).touch()\n"
    if how == "script":
        python.unlink()
        make_script(python, f"#!/bin/sh\ntouch {ran}\n")
    elif how == "sitecustomize":
        (site / "sitecustomize.py").write_text(code)
    elif how == "pth":
        (site / "evil.pth").write_text(code)
    elif how == "system site":
        config = venv / "pyvenv.cfg"
        config.write_text(config.read_text().replace("= false", "= true"))
    else:
        env["PYTHONHOME"] = "/nowhere"
    with pytest.raises(UsageError, match="would have to be run") as caught:
        get_interpreter(str(python), env, may_run=False)
    assert "`run` and `key` ask it" in (caught.value.hint or "")
    assert not ran.exists()
