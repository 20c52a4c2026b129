"""What an interpreter's files say of it, so that looking at a workflow runs nothing it names.

Understood are venvs (PEP 405) and prefixes laid out as CPython's `make install` and Debian lay them
out (Modules/getpath.py, Lib/site.py of 3.11 to 3.14). Anything that makes the answer depend on code
(a sitecustomize, a .pth file with an unknown `import` line, PYTHONHOME) is left to running it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from warmup.words.files import read_regular

_MAX_BYTES = 1 << 20
_BINARY = re.compile(r"python(\d\.\d+)(t?)")
_PATCH_LEVEL = re.compile(rb'#define\s+PY_VERSION\s+"([\w.+]+)"')
# What these .pth files import adds no folder to sys.path that could hold a distribution.
_KNOWN_PTH = re.compile(
    r"distutils-precedence\.pth|_virtualenv\.pth|a1_coverage\.pth|__editable__.*\.pth|.*-nspkg\.pth"
)
_DECIDING = ("PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONUSERBASE")


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
