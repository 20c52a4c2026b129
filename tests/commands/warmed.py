"""A home with markers, and a DeepGEMM cache that they were written for, for `audit` and `gc`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.caches.caches import write_deep_gemm
from warmup.caches.manifest import make_manifest, summaries
from warmup.caches.records import encode
from warmup.caches.walk import take_snapshot
from warmup.launch.launch import Launch
from warmup.state.home import Home
from warmup.state.manifests import write_warmed
from warmup.state.marker import make_marker
from warmup.state.version_vector import Ingredient, VersionVector
from warmup.words.errors import UsageError

FAMILIES = ("deep_gemm", "triton")


def make_vector(**values: str) -> VersionVector:
    return VersionVector(tuple(Ingredient(name, value) for name, value in values.items()))


def make_launch(model: str = "org/model", tp: int = 1) -> Launch:
    return Launch(model=model, tp=tp, engine="command", python="python3", command=("serve",))


@dataclass
class Warmed:
    """A `HostView`. vector: of the present host; change it, and every earlier marker is stale."""

    path: Path
    vector: VersionVector = field(
        default_factory=lambda: make_vector(torch="2.13", deep_gemm="2.5")
    )
    launches: Sequence[Launch] = ()
    default: Launch = field(default_factory=lambda: make_launch())
    launch_env: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home = Home(self.path / "home")
        self.home.ensure()
        self.root = self.path / "deep_gemm"
        self.env = {
            "HOME": str(self.path / "user"),
            "DG_JIT_CACHE_DIR": str(self.root),
            "TRITON_CACHE_DIR": str(self.path / "triton"),
        }

    def get_vector(self, launch: Launch) -> VersionVector:
        return self.vector

    def get_env(self, launch: Launch) -> Mapping[str, str]:
        return {**self.env, **self.launch_env}

    def compile(self, name: str, cubin: bytes) -> Path:
        return write_deep_gemm(self.root, name, cubin=cubin)

    def mark(self, launch: Launch | None = None) -> Path:
        """Write manifest and marker of a warm-up that found the caches as they are now."""
        snapshot = take_snapshot(FAMILIES, self.env)
        manifest = make_manifest(snapshot, snapshot)
        data = encode(manifest)
        marker = make_marker(
            launch or make_launch(),
            self.vector,
            argv=("serve",),
            engine_version=None,
            families=summaries(manifest),
            manifest=data,
            phases={},
            seconds=41.5,
            proven=False,
        )
        return write_warmed(self.home, marker, data)


class Unreadable(Warmed):
    """A host that cannot tell a launch's vector."""

    def get_vector(self, launch: Launch) -> VersionVector:
        raise UsageError("no such source path")
