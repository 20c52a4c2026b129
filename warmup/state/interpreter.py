"""Which Python an engine's environment has, and where that Python looks for packages.

As far as its files tell, so that looking at a workflow runs nothing it names. Understood are venvs
(PEP 405) and prefixes laid out as CPython's `make install` and Debian lay them out (Modules/
getpath.py, Lib/site.py of 3.11 to 3.14). Anything that makes the answer depend on code (a
sitecustomize, a .pth file with an unknown `import` line, PYTHONHOME) is left to running it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import msgspec

from warmup.state.executable import find_on_path, is_executable
from warmup.words.errors import UsageError
from warmup.words.files import read_regular

_MAX_BYTES = 1 << 20
_BINARY = re.compile(r"python(\d\.\d+)(t?)")
_PATCH_LEVEL = re.compile(rb'#define\s+PY_VERSION\s+"([\w.+]+)"')
# What these .pth files import adds no folder to sys.path that could hold a distribution.
_KNOWN_PTH = re.compile(
    r"distutils-precedence\.pth|_virtualenv\.pth|a1_coverage\.pth|__editable__.*\.pth|.*-nspkg\.pth"
)
_DECIDING = ("PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONUSERBASE")
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


class _OnlyRunningTells(Exception):
    pass


def find_layout(python: str, env: Mapping[str, str]) -> tuple[str, tuple[str, ...]] | None:
    """Version and `sys.path` (without a script's folder) of `python`, an absolute path; None where
    only running it tells. Opens files, runs nothing."""
    try:
        return _read(Path(python), env)
    except (OSError, ValueError, _OnlyRunningTells):
        return None


def _read(python: Path, env: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    binary = python.resolve()
    match = _BINARY.fullmatch(binary.name)
    if match is None or binary.parent.name != "bin" or any(name in env for name in _DECIDING):
        raise _OnlyRunningTells
    base, name = binary.parent.parent, f"python{match[1]}{match[2]}"
    header = read_regular(base / "include" / name / "patchlevel.h", _MAX_BYTES, follow=True)
    version = _PATCH_LEVEL.search(header)
    stdlib = base / "lib" / name
    if version is None or (base / "lib64" / name).exists() or not (stdlib / "os.py").is_file():
        raise _OnlyRunningTells
    named = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    if not all(path.startswith("/") for path in named):
        raise _OnlyRunningTells
    digits = match[1].replace(".", "")
    paths = [*named, f"{base}/lib/python{digits}{match[2]}.zip", str(stdlib)]
    paths.append(f"{stdlib}/lib-dynload")
    for path in _list_sites(python, base, name, env):
        paths += _read_site(path, paths)
    if any(_is_customized(Path(path)) for path in paths):
        raise _OnlyRunningTells
    return version[1].decode() + match[2], tuple(dict.fromkeys(paths))


def _list_sites(python: Path, base: Path, name: str, env: Mapping[str, str]) -> list[Path]:
    config = python.parent.parent / "pyvenv.cfg"
    if config.exists() or (python.parent / "pyvenv.cfg").exists():
        lines = read_regular(config, _MAX_BYTES).decode("utf-8").splitlines()
        said = ["".join(line.lower().split()) for line in lines]
        if "include-system-site-packages=false" not in said:
            raise _OnlyRunningTells
        return [python.parent.parent / "lib" / name / "site-packages"]
    if python.resolve().parent != python.parent.resolve():
        raise _OnlyRunningTells  # a link from elsewhere: which prefix it finds is its own affair
    sites = []
    if not env.get("PYTHONNOUSERSITE") and env.get("HOME"):
        sites.append(Path(env["HOME"], ".local", "lib", name, "site-packages"))
    if (base / "lib" / "python3" / "dist-packages").is_dir():
        sites += [base / "local" / "lib" / name / "dist-packages"]
        sites += [base / "lib" / "python3" / "dist-packages", base / "lib" / name / "dist-packages"]
        return sites
    return [*sites, base / "lib" / name / "site-packages"]


def _read_site(folder: Path, before: list[str]) -> Iterator[str]:
    """The folder, and what its .pth files add (Lib/site.py, addsitedir)."""
    if not folder.is_dir():
        return
    yield str(folder)
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - names alone are wanted
        if not name.endswith(".pth") or name.startswith("."):
            continue
        for line in read_regular(folder / name, _MAX_BYTES, follow=True).decode().splitlines():
            text = line.rstrip()
            if not text or text.startswith("#"):
                continue
            if text.startswith(("import ", "import\t")):
                if _KNOWN_PTH.fullmatch(name) is None:
                    raise _OnlyRunningTells
                continue
            path = os.path.abspath(folder / text)  # noqa: PTH100 - as site.makepath
            if path not in before and Path(path).exists():
                yield path


def _is_customized(folder: Path) -> bool:
    """Debian's own sitecustomize (a crash reporter's hook, in /etc) changes no path."""
    for name in ("sitecustomize", "usercustomize"):
        for path in (folder / f"{name}.py", folder / name):
            if path.exists() and not str(path.resolve()).startswith("/etc/python3"):
                return True
    return False
