"""The version vector: named inputs that decide whether compiled kernels stay valid.

Everything is read without importing torch (design.md section 6). Which families an ingredient can
invalidate is not written down here: each family's file says what its key holds, each engine's file
which families it fills (`warmup.state.relevant_env`).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from warmup.state.distributions import (
    Distribution,
    find_package_dir,
    get_version,
    normalise,
    read_distributions,
    read_kernel_packages,
)
from warmup.state.gpus import GpuFacts, read_gpus
from warmup.state.interpreter import get_interpreter
from warmup.state.nvcc import find_toolkit, get_nvcc_version
from warmup.state.relevant_env import find_touched, get_relevant
from warmup.state.source_tree import get_tree_hash
from warmup.state.values import NONE, is_assumed, is_unreadable, make_unreadable
from warmup.words import encoding
from warmup.words.errors import HostError
from warmup.words.files import read_regular

_MAX_VERSION_BYTES = 1 << 20
# Ingredient → the distributions that may provide it; the first that is installed counts.
_DISTRIBUTIONS: dict[str, tuple[str, ...]] = {
    "triton": ("triton", "pytorch-triton"),
    "flashinfer": ("flashinfer-python", "flashinfer"),
    "tilelang": ("tilelang",),
    "nvidia-cutlass-dsl": ("nvidia-cutlass-dsl",),
    "quack-kernels": ("quack-kernels",),
    "apache-tvm-ffi": ("apache-tvm-ffi",),
}
# One module, two distributions: their versions count differently.
_DEEP_GEMM_DISTRIBUTIONS = ("sgl-deep-gemm", "deep-gemm")
# DeepGEMM's own package, and the copy inside vLLM's wheel (vllm#48190).
_DEEP_GEMM_PACKAGES = ("deep_gemm", "vllm/third_party/deep_gemm")

GPU_INGREDIENTS = frozenset({"driver", "gpu_name", "compute_capability", "sm_count"})


class Ingredient(msgspec.Struct, frozen=True):
    """One input. value: "none" where the host has no such thing."""

    name: str
    value: str

    @property
    def families(self) -> tuple[str, ...]:
        """What it can invalidate: knowledge of today, which no marker keeps."""
        return find_touched(self.name)


class Change(msgspec.Struct, frozen=True):
    """An ingredient that differs; `old` or `new` is None where it was not named at all."""

    name: str
    old: str | None
    new: str | None
    families: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.old or NONE} → {self.new or NONE}"

    @property
    def is_proven(self) -> bool:
        """False where one side could not be read: then the two may be equal."""
        return not (is_unreadable(self.old) or is_unreadable(self.new))

    @property
    def is_answer(self) -> bool:
        """Whether a machine says what a vector of elsewhere only assumed of it."""
        return is_assumed(self.old) and self.new not in (None, NONE)


class VersionVector(msgspec.Struct, frozen=True):
    """All ingredients, in a fixed order. Names are unique: ValueError."""

    ingredients: tuple[Ingredient, ...]

    def __post_init__(self) -> None:
        if len({each.name for each in self.ingredients}) != len(self.ingredients):
            raise ValueError("two ingredients of one name")

    @property
    def key(self) -> str:
        """16 hex digits over names and values."""
        values = sorted([each.name, each.value] for each in self.ingredients)
        return hashlib.sha256(encoding.encode(values)).hexdigest()[:16]

    @property
    def values(self) -> dict[str, str]:
        """Ingredient → value."""
        return {each.name: each.value for each in self.ingredients}

    def find_engine_version(self, distribution: str | None) -> str | None:
        """Of the engine that this distribution is; None where it was not asked for."""
        return self.values.get(f"engine:{distribution}")

    @property
    def unread(self) -> tuple[Ingredient, ...]:
        """What could not be read. With any, the vector proves neither warm nor cold."""
        return tuple(each for each in self.ingredients if is_unreadable(each.value))

    def require_read(self, what: str) -> None:
        """Raises HostError if an ingredient could not be read. what: what cannot be without it."""
        if self.unread:
            raise HostError(
                what,
                cause=explain_unread(self.unread),
                hint="run `warmup-ci doctor`, and again once the host answers",
            )

    def diff(self, new: VersionVector) -> list[Change]:
        """What changed from this vector to `new`, in `new`'s order, what vanished last."""
        before = {each.name: each for each in self.ingredients}
        changes = []
        for each in new.ingredients:
            old = before.pop(each.name, None)
            if old is None or old.value != each.value:
                changes.append(
                    Change(each.name, old.value if old else None, each.value, each.families)
                )
        changes += [Change(old.name, old.value, None, old.families) for old in before.values()]
        return changes


def explain_unread(unread: Sequence[Ingredient]) -> str:
    """`nvcc could not be read (silent for 30 s)`."""
    told = (f"{each.name} ({each.value.partition(': ')[2]})" for each in unread)
    return "could not be read: " + ", ".join(told)


def read_vector(
    *,
    python: str,
    env: Mapping[str, str],
    engines: Sequence[str],
    source_paths: Sequence[str],
    repo_dir: Path,
    may_run_python: bool = True,
    gpus: GpuFacts | None = None,
) -> VersionVector:
    """Read the vector as a server started by `python` under `env` would meet it.

    engines: distribution names (`sglang`); each becomes an ingredient `engine:<name>`.
    source_paths: relative to the top of the git repository that `repo_dir` lies in.
    gpus: what is said of GPUs that are not here; None reads this host's.
    Raises UsageError for an interpreter or a source path that cannot be read.
    """
    interpreter = get_interpreter(python, env, may_run=may_run_python)
    installed = read_distributions(interpreter.paths)
    versions = {name: get_version(installed, names) for name, names in _DISTRIBUTIONS.items()}
    values = {
        "python": interpreter.version,
        "machine": os.uname().machine,
        **_read_torch(interpreter.paths, installed),
        "triton": versions.pop("triton"),
        **_read_deep_gemm(interpreter.paths, installed),
        **_read_cuda(env, gpus or read_gpus()),
        **versions,
        **read_kernel_packages(installed, interpreter.paths),
    }
    for engine in dict.fromkeys(map(normalise, engines)):
        values[f"engine:{engine}"] = get_version(installed, (engine,))
    for name, value in get_relevant(env).items():
        values[f"env:{name}"] = value
    for path in dict.fromkeys(source_paths):
        values[f"source:{path}"] = get_tree_hash(path, repo_dir, env)
    clean = encoding.clean
    return VersionVector(
        tuple(Ingredient(clean(name), clean(value)) for name, value in values.items())
    )


def _read_torch(paths: Sequence[str], installed: Mapping[str, Distribution]) -> dict[str, str]:
    """torch/version.py as text: version, CUDA build, commit; the metadata where there is none."""
    folder = find_package_dir("torch", paths, installed.get("torch"))
    text = ""
    if folder is not None and os.path.isfile(f"{folder}/version.py"):  # noqa: PTH113
        try:
            data = read_regular(f"{folder}/version.py", _MAX_VERSION_BYTES, follow=True)
        except OSError as error:
            value = make_unreadable(error.strerror or str(error))
            return dict.fromkeys(("torch", "torch_cuda", "torch_git"), value)
        text = data.decode("utf-8", "replace")
    found = {
        name: match.group(1)
        for name in ("__version__", "cuda", "git_version")
        if (match := re.search(rf"^{name}\b[^=\n]*= *['\"]([^'\"]*)['\"]", text, re.MULTILINE))
    }
    return {
        "torch": found.get("__version__") or get_version(installed, ("torch",)),
        "torch_cuda": found.get("cuda", NONE),
        "torch_git": found.get("git_version", NONE),
    }


def _read_deep_gemm(paths: Sequence[str], installed: Mapping[str, Distribution]) -> dict[str, str]:
    """Distribution and version, and the absolute include path of each installed copy: the
    compile flags hold it, so the cache key does (DeepGEMM 54e2261, csrc/jit/compiler.hpp)."""
    found = [installed[name] for name in _DEEP_GEMM_DISTRIBUTIONS if name in installed]
    folders = [
        find_package_dir(each, paths, found[0] if found else None) for each in _DEEP_GEMM_PACKAGES
    ]
    versions = [f"{each.name} {get_version(installed, (each.name,))}" for each in found]
    return {
        "deep_gemm": ", ".join(versions) or NONE,
        "deep_gemm_include": ", ".join(f"{each}/include" for each in folders if each) or NONE,
    }


def _read_cuda(env: Mapping[str, str], gpus: GpuFacts) -> dict[str, str]:
    toolkit = find_toolkit(env)
    return {
        "nvcc": get_nvcc_version(toolkit.nvcc),
        "nvcc_path": toolkit.nvcc,
        "cuda_home": toolkit.home,
        "driver": gpus.driver,
        "gpu_name": gpus.names,
        "compute_capability": gpus.compute_capability,
        "sm_count": gpus.sm_count,
    }
