"""Which Python an engine's environment has, and where that Python looks for packages."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import msgspec

from warmup.state.executable import find_on_path, is_executable
from warmup.state.interpreter_layout import find_layout
from warmup.words.errors import UsageError

_TIMEOUT_S = 30
_MARK = "warmup-ci-interpreter:"
# In its own environment and with its own site, so that PYTHONPATH, user site and .pth files
# count as they do for the server. The mark finds our line among what a sitecustomize prints.
_PROBE = (
    "import sys; print('\\n" + _MARK + "' + '\\0'.join(["
    "'%d.%d.%d' % sys.version_info[:3] + getattr(sys, 'abiflags', ''), *sys.path]))"
)


class Interpreter(msgspec.Struct, frozen=True):
    """version: `3.11.7`, with `t` for free-threaded. paths: folders of `sys.path`, in order."""

    version: str
    paths: tuple[str, ...]


def get_interpreter(python: str, env: Mapping[str, str], *, may_run: bool = True) -> Interpreter:
    """Read `python` (a path, a name on PATH, "" for this one) by its files, or else ask it.

    may_run: whether to run it where its files do not tell: a command that only looks does not run
    what a workflow names. Raises UsageError where there is none, where it does not answer, and
    where it would have to be run.
    """
    python = python or sys.executable
    found = os.path.abspath(python) if "/" in python else find_on_path(python, env)  # noqa: PTH100
    if found is None or not is_executable(found):
        raise UsageError(
            f"python {python!r} cannot be run",
            cause="no such file on PATH" if "/" not in python else "no such executable file",
            hint="give the interpreter of the engine's environment with --python",
        )
    if _is_own(found) and env.get("PYTHONPATH") == os.environ.get("PYTHONPATH"):
        return _get_own()
    layout = find_layout(found, env)
    if layout is not None:
        return Interpreter(*layout)
    if not may_run:
        raise UsageError(
            f"python {python!r} would have to be run to be read",
            cause="this command only looks, and its files do not tell its version and packages",
            hint="`run` and `key` ask it; a venv or an ordinary installation can be read",
        )
    status = Path(found).stat()
    return _probe(found, (status.st_ino, status.st_mtime_ns), tuple(sorted(env.items())))


def _get_own() -> Interpreter:
    # The first entry is the script's folder or the working folder: a server has neither.
    skipped = {"", str(Path.cwd()), str(Path(sys.argv[0]).absolute().parent)}
    skipped -= set(os.environ.get("PYTHONPATH", "").split(os.pathsep)) - {""}
    version = ".".join(map(str, sys.version_info[:3])) + getattr(sys, "abiflags", "")
    return Interpreter(version, tuple(path for path in sys.path if path not in skipped))


def _is_own(found: str) -> bool:
    """Whether it is the very environment we run in: same folder as spelled, same binary.

    Comparing real paths alone would take a venv for the Python that it was made from.
    """
    own = Path(sys.executable)
    return Path(found).parent == own.parent and own.samefile(found)


@lru_cache(maxsize=16)
def _probe(python: str, identity: tuple[int, int], env: tuple[tuple[str, str], ...]) -> Interpreter:
    """Once per process and binary: a workflow of five models asks for the same one."""
    import subprocess

    try:
        done = subprocess.run(
            [python, "-c", _PROBE],
            env=dict(env),
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _no_answer(python, f"silent for {_TIMEOUT_S} s") from error
    except OSError as error:
        raise _no_answer(python, error.strerror or str(error)) from error
    _, mark, answer = os.fsdecode(done.stdout).rpartition("\n" + _MARK)
    if done.returncode != 0 or not mark:
        last = os.fsdecode(done.stderr).strip().splitlines()[-1:] or ["it printed nothing"]
        raise _no_answer(python, f"exit status {done.returncode}: {last[0]}")
    version, *paths = answer.rstrip("\n").split("\0")
    return Interpreter(version, tuple(path for path in paths if path))


def _no_answer(python: str, cause: str) -> UsageError:
    return UsageError(
        f"python {python!r} is not a working interpreter",
        cause=cause,
        hint="give the interpreter of the engine's environment with --python",
    )
