"""Installed distributions, from the names of their metadata folders.

`importlib.metadata` opens and parses every METADATA file; a folder's name says name and version
already (packaging.python.org, "Recording installed projects"). Nothing is imported.
So is told whether an engine is installed in the interpreter that is to start it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from warmup.launch.api import Launch
from warmup.state.interpreter import get_interpreter
from warmup.state.values import NONE
from warmup.words.errors import UsageError

_KERNEL_PACKAGES = ("flashinfer-cubin", "nvidia-cudnn-frontend", "amd-aiter", "foundry-core")
# flashinfer 0.7.2.post1, jit/env.py and collect_env.py.
_JIT_CACHE = "flashinfer-jit-cache"
_PROVIDER = re.compile(r"flashinfer-jit-cache-(sm\d{2,3}[af]?)")


class Distribution(msgspec.Struct, frozen=True):
    """name: normalised (PEP 503). folder: its metadata folder or file."""

    name: str
    version: str
    folder: str

    @property
    def editable_source(self) -> str | None:
        """The source folder of an editable install (PEP 610), None for any other."""
        try:
            data = Path(self.folder, "direct_url.json").read_bytes()
            found = msgspec.json.decode(data, type=_DirectUrl)
        except (OSError, msgspec.DecodeError):
            return None
        if not found.dir_info.editable or not found.url.startswith("file://"):
            return None
        from urllib.parse import unquote

        return unquote(found.url.removeprefix("file://"))


class _DirInfo(msgspec.Struct):
    editable: bool = False


class _DirectUrl(msgspec.Struct):
    url: str = ""
    dir_info: _DirInfo = msgspec.field(default_factory=_DirInfo)


def normalise(name: str) -> str:
    """PEP 503: `NVIDIA_cutlass.dsl` → `nvidia-cutlass-dsl`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_distributions(paths: Sequence[str]) -> dict[str, Distribution]:
    """Every distribution on `paths` by normalised name; the earliest folder wins, as in imports.

    Two metadata folders of one name in one folder (a broken upgrade) give a version that says
    so, in whatever order they are listed. Folders that are missing, or zip files, are skipped.
    """
    found: dict[str, Distribution] = {}
    for path in dict.fromkeys(paths):
        here: dict[str, Distribution] = {}
        for distribution in sorted(_read_folder(path), key=lambda each: each.folder):
            twin = here.get(distribution.name)
            if twin is not None and twin.version != distribution.version:
                distribution = msgspec.structs.replace(
                    distribution, version=f"{twin.version} and {distribution.version}"
                )
            here[distribution.name] = distribution
        found = {**here, **found}
    return found


def read_kernel_packages(
    installed: Mapping[str, Distribution], paths: Sequence[str]
) -> dict[str, str]:
    """Ingredient → version, of packages that bring kernels and that many hosts lack.

    Named only where they are installed, so that the keys of other hosts stay what they were.
    """
    found = {
        name: get_version(installed, (name,)) for name in _KERNEL_PACKAGES if name in installed
    }
    shim = installed.get(_JIT_CACHE)
    providers = []
    for name in sorted(installed):
        if (match := _PROVIDER.fullmatch(name)) is not None:
            version = installed[name].version
            is_seen = shim is not None and shim.version == version
            providers.append(match[1] if is_seen else f"{match[1]} {version} (ignored)")
    if shim is not None and not providers:
        folder = find_package_dir("flashinfer_jit_cache", paths, shim)
        # Before they were split, one wheel brought all of them.
        is_whole = folder is not None and os.path.isdir(f"{folder}/jit_cache")  # noqa: PTH112
        found[_JIT_CACHE] = shim.version + ("" if is_whole else " without providers")
    elif providers:
        version = NONE if shim is None else shim.version
        found[_JIT_CACHE] = f"{version} with {', '.join(providers)}"
    return found


def get_version(installed: Mapping[str, Distribution], names: Sequence[str]) -> str:
    """The version of the first that is installed; an editable one says little of the code."""
    for name in names:
        if (found := installed.get(name)) is not None:
            return found.version + (" (editable)" if found.editable_source else "")
    return NONE


def find_package_dir(
    package: str, paths: Sequence[str], distribution: Distribution | None = None
) -> str | None:
    """The folder that `import package` would load, as `__file__` would spell it.

    An editable install whose finder is a hook has no folder on `paths`: then it is looked for
    in the usual places of its source.
    """
    candidates = list(paths)
    source = distribution.editable_source if distribution else None
    if source is not None:
        candidates += [source, f"{source}/src", f"{source}/python"]
    for path in candidates:
        folder = os.path.join(os.path.abspath(path), package)  # noqa: PTH100,PTH118 - unresolved
        if os.path.isfile(f"{folder}/__init__.py"):  # noqa: PTH113
            return folder
    return None


def _read_folder(path: str) -> list[Distribution]:
    try:
        names = os.listdir(path)  # noqa: PTH208 - half the time of iterdir over 500 packages
    except OSError:
        return []
    found = []
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        if not dot or suffix not in ("dist-info", "egg-info"):
            continue
        folder = f"{path}/{name}"
        title, _, version = stem.partition("-")
        if suffix == "egg-info":
            version = re.sub(r"-py\d.*$", "", version) or _read_version(folder)
        found.append(Distribution(normalise(title), version, folder))
    return found


def _read_version(egg_info: str) -> str:
    """`foo.egg-info` of `setup.py develop` has its version inside only."""
    try:
        text = Path(egg_info, "PKG-INFO").read_text("utf-8", "replace")
    except OSError:
        return "unknown"
    match = re.search(r"^Version: *(\S+)", text, re.MULTILINE)
    return match.group(1) if match else "unknown"


# Distribution of an engine → package → the distribution that brings it; and what pip is asked for.
_NEEDS: dict[str, tuple[dict[str, str], str]] = {
    "warmup-ci": (
        {"warmup": "warmup-ci", "torch": "torch", "transformers": "transformers"},
        "warmup-ci[serve]",
    ),
    "transformers": ({"transformers": "transformers", "torch": "torch"}, "transformers[serving]"),
}


def find_missing_engine(
    launch: Launch,
    distribution: str | None,
    env: Mapping[str, str],
    more_paths: Sequence[str],
    *,
    may_run_python: bool = True,
) -> UsageError | None:
    """Why this launch's interpreter cannot start its engine; None where nothing is seen amiss.

    distribution: the engine's; None where there is none to look for. env: the interpreter's.
    more_paths: where its server looks for packages besides. A package without metadata (a
    checkout on PYTHONPATH) will do. Raises UsageError for an interpreter that does not answer.
    """
    if distribution is None or launch.strategy == "kernels":  # no server is started
        return None
    packages, wanted = _NEEDS.get(distribution, ({distribution: distribution}, distribution))
    paths = (*get_interpreter(launch.python, env, may_run=may_run_python).paths, *more_paths)
    missing = [name for name in packages if find_package_dir(name, paths) is None]
    if missing:  # an editable install has no folder there
        installed = read_distributions(paths)
        missing = [name for name in missing if packages[name] not in installed]
    if not missing:
        return None
    return UsageError(
        f"{launch.name}: engine {launch.engine} is not installed",
        cause=f"{launch.python} has no {', '.join(missing)}",
        hint=f"install it there (`{launch.python} -m pip install '{wanted}'`), or name the"
        " interpreter of the engine's environment with --python",
    )
