"""Machines of a fleet: one warms and pushes, others pull. Real files, real keys, given vectors."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.caches.caches import make_cubin, write_deep_gemm
from tests.commands.hosts import HostSession
from tests.commands.warmed import make_launch, make_vector
from warmup.caches.api import (
    encode,
    get_variables,
    make_manifest,
    summaries,
    take_snapshot,
)
from warmup.commands.pull import pull
from warmup.commands.push import push
from warmup.launch.launch import Launch
from warmup.state.api import Home, VersionVector, make_marker, write_warmed
from warmup.workflow.selection import PackTable, Resolved

FAMILIES = ("deep_gemm", "triton")
GROUP = "__grp__add.json"


@dataclass(frozen=True, kw_only=True)
class MachineSession(HostSession):
    cache_root: str = ""
    packs: PackTable = field(default_factory=PackTable)

    @cached_property
    def resolved(self) -> Resolved:
        default = Launch(model="", tp=1, engine="command", python="python3")
        return Resolved(
            launches=self.given, default=default, cache_root=self.cache_root, packs=self.packs
        )


@dataclass
class Machine:
    """A home and a cache root under one folder. packs: the policy's table."""

    path: Path
    vector: VersionVector = field(
        default_factory=lambda: make_vector(torch="2.13", compute_capability="9.0", gpu_name="H200")
    )
    launches: Sequence[Launch] = field(default_factory=lambda: (make_launch(),))
    packs: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home = Home(self.path / "home")
        self.home.ensure()
        self.root = self.path / "caches"

    @property
    def env(self) -> dict[str, str]:
        return {
            "HOME": str(self.path / "user"),
            "WARMUP_CI_HOME": str(self.home.path),
            **self.environ,
        }

    @property
    def session(self) -> MachineSession:
        return MachineSession(
            environ=self.env,
            now=self.vector,
            given=tuple(self.launches),
            variables=get_variables(self.root),
            cache_root=str(self.root),
            packs=PackTable(self.packs, "workflow.toml: packs", self.path.parent),
        )

    def compile(self, name: str = "fp8_gemm", cubin: bytes | None = None) -> Path:
        """A DeepGEMM kernel and a Triton one with its group, as the libraries leave them."""
        write_triton(self.root / "triton", f"K{name}", name)
        return write_deep_gemm(self.root / "deep_gemm", name, cubin=cubin or make_cubin())

    def mark(self, launch: Launch | None = None, **changes: Any) -> Path:
        """Manifest and marker of a warm-up that found the caches as they are now."""
        snapshot = take_snapshot(FAMILIES, {**self.env, **get_variables(self.root)})
        data = encode(manifest := make_manifest(snapshot, snapshot))
        fields: dict[str, Any] = {"proven": True, **changes}
        marker = make_marker(
            launch or self.launches[0],
            self.vector,
            argv=("serve",),
            engine_version=None,
            families=summaries(manifest),
            manifest=data,
            phases={},
            seconds=41.5,
            **fields,
        )
        return write_warmed(self.home, marker, data)

    def push(self, reference: str, **options: Any) -> int:
        return push(self.session, reference=reference, **options)

    def pull(self, reference: str, **options: Any) -> int:
        return pull(self.session, reference=reference, **options)


def write_triton(root: Path, key: str, kernel: str) -> Path:
    """An entry as Triton 3.9 leaves it: files, and a group that names them by absolute path."""
    folder = root / key
    folder.mkdir(parents=True)
    names = [f"{kernel}.cubin", f"{kernel}.json"]
    (folder / names[0]).write_bytes(make_cubin())
    (folder / names[1]).write_text("{}")
    group = {"child_paths": {name: str(folder / name) for name in names}}
    (folder / f"__grp__{kernel}.json").write_text(json.dumps(group))
    return folder


def read_tree(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@dataclass(frozen=True)
class Key:
    """An SSH key pair, and the line of allowed signers that names its principal."""

    path: Path
    principal: str

    @property
    def sign(self) -> str:
        return f"ssh:{self.path}"

    @property
    def public(self) -> str:
        return self.path.with_name(self.path.name + ".pub").read_text().strip()

    def make_line(self, options: str = 'namespaces="warmup-ci-pack"') -> str:
        return f"{self.principal} {options} {self.public}\n"


def make_key(folder: Path, principal: str) -> Key:
    path = folder / principal.replace("@", "-")
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", principal, "-f", str(path)]
    subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL)
    return Key(path, principal)


def get_document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found
