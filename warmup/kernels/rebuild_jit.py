"""Entries of deep_jit: meta.json says how each was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from warmup.kernels.digest import JitKeys
from warmup.kernels.rebuild_plan import UNKNOWN, Plan, Toolchain, add_job, get_name


class _Config(msgspec.Struct):
    extra_signature: str = ""
    include_dirs: tuple[str, ...] = ()
    include_prefixes: tuple[str, ...] = ()


class _Compiler(msgspec.Struct):
    version: str


class _Options(msgspec.Struct):
    """deep_jit's options (0.2.5, backend/cuda/options.hpp, to_json)."""

    optimize_level: str
    ptxas_register_usage_level: int
    arch: str
    use_fast_math: bool | None = False
    ptxas_verbose: bool | None = False
    check_no_spills: bool | None = False
    check_no_local_memory: bool | None = False
    with_line_info: bool | None = False
    nvcc_flags: tuple[str, ...] | None = ()
    extra_nvcc_flags: tuple[str, ...] = ()
    post_hook: str | None = None

    def get_flags(self) -> list[str]:
        """nvcc's arguments, in the order of `CompilerOptions::get_flags`."""
        level = self.optimize_level
        flags = [
            f"--gpu-architecture=sm_{self.arch}",
            f"-O{level}",
            f"--compiler-options=-O{level}",
        ]
        flags += ["--use_fast_math"] * bool(self.use_fast_math)
        flags += ["--ptxas-options=--verbose"] * bool(self.ptxas_verbose)
        flags += [f"--ptxas-options=--register-usage-level={self.ptxas_register_usage_level}"]
        flags += ["--ptxas-options=--warn-on-spills"] * bool(self.check_no_spills)
        local = "--ptxas-options=--warn-on-local-memory-usage"
        flags += [local] * bool(self.check_no_local_memory)
        flags += ["--generate-line-info"] * bool(self.with_line_info)
        return [*flags, *(self.nvcc_flags or ()), *self.extra_nvcc_flags]


class _Meta(msgspec.Struct):
    config: _Config
    compiler_info: _Compiler
    compiler_options: _Options


class JitEntries:
    def __init__(self, new: Toolchain) -> None:
        self._new = new

    def add(self, plan: Plan, path: Path, target: Path) -> None:
        name, digest = get_name(path)
        code, raw = (path / "kernel.cu").read_bytes(), (path / "meta.json").read_bytes()
        try:
            meta = msgspec.json.decode(raw, type=_Meta)
        except (msgspec.DecodeError, UnicodeDecodeError):
            plan.skip("its meta.json cannot be read", path.name)
            return
        if meta.compiler_options.post_hook is not None:
            plan.skip("it was changed after nvcc, by a hook", path.name)
            return
        if self._get_digest(meta, meta.compiler_info.version, code) != digest:
            plan.skip(UNKNOWN, path.name)
            return
        new_digest = self._get_digest(meta, self._new.version, code)
        files = {"meta.json": self._make_meta(raw), ".committed": ""}
        argv = [self._new.nvcc, "{folder}/kernel.cu", "--cubin", "--output-file"]
        argv += ["{folder}/kernel.cubin", *meta.compiler_options.get_flags()]
        argv += ["--include-path", str(self._new.include)]
        add_job(plan, path, target / "cache" / f"{name}.{new_digest}", code, argv, files)

    def _get_digest(self, meta: _Meta, version: str, code: bytes) -> str | None:
        """With the installed package's headers: other ones give another key."""
        keys = JitKeys([self._new.include], meta.config.include_prefixes, version)
        try:
            flags = meta.compiler_options.get_flags()
            return keys.get_digest(meta.config.extra_signature, flags, code)
        except OSError:
            return None

    def _make_meta(self, raw: bytes) -> str:
        told: dict[str, Any] = msgspec.json.decode(raw)
        told["config"]["include_dirs"] = [str(self._new.include)]
        told["config"]["python_library_root"] = str(self._new.include.parent)
        told["compiler_info"] = {"path": self._new.nvcc, "version": self._new.version}
        told["command"] = "rebuilt by warmup-ci"
        return msgspec.json.encode(told).decode()
