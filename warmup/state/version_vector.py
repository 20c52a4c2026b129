"""The version vector: named inputs that decide whether compiled kernels stay valid.

Everything is read without importing torch (design.md section 6). What each JIT cache family's
key holds is cited in `warmup/caches/families/<family>.py`; `_FAMILIES` is that knowledge read
from the ingredients' side, and errs towards naming a family.
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
    normalise,
    read_distributions,
)
from warmup.state.gpus import NONE, read_gpus
from warmup.state.interpreter import get_interpreter
from warmup.state.nvcc import find_toolkit, get_nvcc_version
from warmup.state.relevant_env import find_families, get_relevant
from warmup.state.source_tree import get_tree_hash
from warmup.words import encoding

_HOST_CODE = (
    "triton", "inductor", "flashinfer", "tilelang", "cute_dsl", "quack", "tvm_ffi",
    "torch_extensions", "vllm",
)  # fmt: skip
_COMPILED = ("deep_gemm", *_HOST_CODE)
_NVCC = ("deep_gemm", "flashinfer", "tilelang", "tvm_ffi", "torch_extensions")

_FAMILIES: dict[str, tuple[str, ...]] = {
    "python": _HOST_CODE,
    "machine": _HOST_CODE,
    "torch": ("inductor", "flashinfer", "tvm_ffi", "torch_extensions", "vllm"),
    "torch_cuda": ("inductor", "flashinfer", "tvm_ffi", "torch_extensions", "vllm"),
    "torch_git": ("inductor", "vllm"),
    "triton": ("triton", "inductor", "vllm"),
    "deep_gemm": ("deep_gemm",),
    "deep_gemm_include": ("deep_gemm",),
    "nvcc": _NVCC,
    "nvcc_path": _NVCC,
    "cuda_home": _NVCC,
    "driver": ("cuda_driver",),
    "gpu_name": ("inductor", "vllm", "cuda_driver"),
    "compute_capability": (*_COMPILED, "cuda_driver"),
    "sm_count": ("deep_gemm", "inductor", "vllm"),
    "flashinfer": ("flashinfer",),
    "tilelang": ("tilelang",),
    "nvidia-cutlass-dsl": ("cute_dsl", "quack", "flashinfer"),
    "quack-kernels": ("quack",),
    "apache-tvm-ffi": ("tvm_ffi", "flashinfer", "tilelang", "quack"),
}
_ENGINE_FAMILIES: dict[str, tuple[str, ...]] = {
    "sglang": ("deep_gemm", "triton", "inductor", "tilelang", "cute_dsl", "tvm_ffi"),
    "vllm": ("vllm", "deep_gemm", "triton", "inductor", "tilelang", "cute_dsl"),
}
_ANY_ENGINE = ("triton", "inductor", "torch_extensions")

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


class Ingredient(msgspec.Struct, frozen=True):
    """One input. value: "none" where the host has no such thing. families: what it invalidates."""

    name: str
    value: str
    families: tuple[str, ...]


class Change(msgspec.Struct, frozen=True):
    """An ingredient that differs; `old` or `new` is None where it was not named at all."""

    name: str
    old: str | None
    new: str | None
    families: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.old or NONE} → {self.new or NONE}"


class VersionVector(msgspec.Struct, frozen=True):
    """All ingredients, in a fixed order. Names are unique: ValueError."""

    ingredients: tuple[Ingredient, ...]

    def __post_init__(self) -> None:
        if len({each.name for each in self.ingredients}) != len(self.ingredients):
            raise ValueError("two ingredients of one name")

    @property
    def key(self) -> str:
        """16 hex digits over names and values. The families are our knowledge, no input."""
        values = sorted([each.name, each.value] for each in self.ingredients)
        return hashlib.sha256(encoding.encode(values)).hexdigest()[:16]

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


def read_vector(
    *,
    python: str,
    env: Mapping[str, str],
    engines: Sequence[str],
    source_paths: Sequence[str],
    repo_dir: Path,
) -> VersionVector:
    """Read the vector as a server started by `python` under `env` would meet it.

    engines: distribution names (`sglang`); each becomes an ingredient `engine:<name>`.
    source_paths: relative to the top of the git repository that `repo_dir` lies in.
    Raises UsageError for an interpreter or a source path that cannot be read.
    """
    interpreter = get_interpreter(python, env)
    installed = read_distributions(interpreter.paths)
    values = {
        "python": interpreter.version,
        "machine": os.uname().machine,
        **_read_torch(interpreter.paths, installed),
        **{name: _get_version(installed, names) for name, names in _DISTRIBUTIONS.items()},
        **_read_deep_gemm(interpreter.paths, installed),
        **_read_cuda(env),
    }
    ingredients = [Ingredient(name, values[name], _FAMILIES[name]) for name in _FAMILIES]
    for engine in dict.fromkeys(map(normalise, engines)):
        families = _ENGINE_FAMILIES.get(engine, _ANY_ENGINE)
        ingredients.append(
            Ingredient(f"engine:{engine}", _get_version(installed, (engine,)), families)
        )
    for name, value in get_relevant(env).items():
        ingredients.append(Ingredient(f"env:{name}", value, find_families(name) or ()))
    for path in dict.fromkeys(source_paths):
        tree = get_tree_hash(path, repo_dir, env)
        ingredients.append(Ingredient(f"source:{path}", tree, _COMPILED))
    return VersionVector(
        tuple(
            Ingredient(encoding.clean(each.name), encoding.clean(each.value), each.families)
            for each in ingredients
        )
    )


def _get_version(installed: Mapping[str, Distribution], names: Sequence[str]) -> str:
    """The version of the first that is installed; an editable one says little of the code."""
    for name in names:
        if (found := installed.get(name)) is not None:
            return found.version + (" (editable)" if found.editable_source else "")
    return NONE


def _read_torch(paths: Sequence[str], installed: Mapping[str, Distribution]) -> dict[str, str]:
    """torch/version.py as text: version, CUDA build, commit; the metadata where there is none."""
    folder = find_package_dir("torch", paths, installed.get("torch"))
    text = ""
    if folder is not None and os.path.isfile(f"{folder}/version.py"):  # noqa: PTH113
        text = Path(folder, "version.py").read_text("utf-8", "replace")
    found = {
        name: match.group(1)
        for name in ("__version__", "cuda", "git_version")
        if (match := re.search(rf"^{name}\b[^=\n]*= *['\"]([^'\"]*)['\"]", text, re.MULTILINE))
    }
    return {
        "torch": found.get("__version__") or _get_version(installed, ("torch",)),
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
    versions = [f"{each.name} {_get_version(installed, (each.name,))}" for each in found]
    return {
        "deep_gemm": ", ".join(versions) or NONE,
        "deep_gemm_include": ", ".join(f"{each}/include" for each in folders if each) or NONE,
    }


def _read_cuda(env: Mapping[str, str]) -> dict[str, str]:
    toolkit = find_toolkit(env)
    gpus = read_gpus()
    return {
        "nvcc": get_nvcc_version(toolkit.nvcc),
        "nvcc_path": toolkit.nvcc,
        "cuda_home": toolkit.home,
        "driver": gpus.driver,
        "gpu_name": gpus.names,
        "compute_capability": gpus.compute_capability,
        "sm_count": gpus.sm_count,
    }
