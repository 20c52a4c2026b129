"""What `run --target` adds to an ordinary run: the null device under the server, and a seed after.

A seed is a marker and a manifest of caches that were made without the GPU. It never says warm: on
the GPU one boot must compile nothing first (design.md section 11).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from warmup.caches.api import (
    Snapshot,
    Tuning,
    find_new_tuning,
    part_tuning,
    remove_tuning,
    take_snapshot,
)
from warmup.launch.api import Launch, get_engine, parse
from warmup.state.api import NONE, GpuFacts, VersionVector, make_assumed
from warmup.target.environment import (
    TRACE,
    check_torch,
    find_real_driver,
    list_own_runtimes,
    make_environment,
)
from warmup.target.profile import Target, parse_target
from warmup.words.errors import HostError, UsageError, WarmupError
from warmup.words.files import Folder

_GIB = 1 << 30
_MAX_BYTES = 64 << 20  # of the list of autotuners' results
# torch 2.14.1, _inductor/config.py: what makes Inductor choose among kernels by timing them.
_TIMED = (
    "TORCHINDUCTOR_MAX_AUTOTUNE",
    "TORCHINDUCTOR_MAX_AUTOTUNE_GEMM",
    "TORCHINDUCTOR_MAX_AUTOTUNE_POINTWISE",
    "TORCHINDUCTOR_COORDINATE_DESCENT_TUNING",
)
_TIMED_ARGUMENT = re.compile(r'max[-_]autotune(?!\w*["\']?\s*[:=]\s*(?:false|0)\b)', re.I)
# sglang 0.5.23, srt/environ.py: how it compiles where `--enable-torch-compile` says no more.
_SGLANG_MODE = ("SGLANG_TORCH_COMPILE_MODE", "max-autotune-no-cudagraphs")

_OWN_RUNTIME = (
    "has a CUDA runtime of its own inside, which cannot be led to the null device: its calls fail"
)
# Part of a library's name → how an engine does without it, and what that changes.
_WAYS_OUT = {
    # Kernels of `cute.compile` do not get there (hook/null_cute.py).
    "cute_dsl": "env FLASHINFER_USE_CUDA_NORM=1 avoids it in FlashInfer's norms (it wants cuBLAS's "
    "headers); the seed then holds another norm module than a launch without it uses, so set it on "
    "the GPU too",
}


class Seeding(msgspec.Struct, frozen=True, kw_only=True):
    """target: the GPUs. driver: the version that is assumed of them. home: warmup-ci's own."""

    target: Target
    driver: str
    home: Path

    @property
    def visible_gpus(self) -> tuple[str, ...]:
        return tuple(map(str, range(self.target.count)))

    @property
    def gpus(self) -> GpuFacts:
        """For the version vector. The driver is the machine's own to say: it is marked assumed."""
        profile = self.target.profile
        return GpuFacts(
            driver=make_assumed(self.driver),
            names=profile.name,
            compute_capability=profile.compute_capability,
            sm_count=str(profile.num_sms),
        )

    def get_boot_launch(self, launch: Launch) -> Launch:
        """The same launch with random weights, where its engine knows such: a null device computes
        nothing. The seed is the launch's own, since no kernel's key knows of weights."""
        if not get_engine(launch.engine).has_dummy_weights:
            return launch
        return msgspec.structs.replace(launch, weights="dummy")

    def require_no_gpu(self, env: Mapping[str, str]) -> None:
        """Raises HostError where a real driver is visible under `env`."""
        real = find_real_driver(env)
        if real is not None:
            raise HostError(
                f"a target of {self.target} is for machines without a GPU",
                cause=f"a real CUDA driver is visible: {real}",
                hint='leave --target out here, or say --target "": `run` warms on the GPU itself',
            )

    def find_problem(
        self, launch: Launch, env: Mapping[str, str], vector: VersionVector
    ) -> WarmupError | None:
        """Why this launch cannot be seeded. env: its server's; vector: for the target."""
        try:
            self.require_no_gpu(env)
            self._check_sizes(launch)
            _check_tuning(launch, env)
            values = vector.values
            if launch.engine != "command" and values.get("torch", NONE) != NONE:
                check_torch(values["torch"], values["torch_cuda"])
        except WarmupError as problem:
            return problem
        return None

    def _check_sizes(self, launch: Launch) -> None:
        if launch.strategy == "kernels":
            raise UsageError(
                f'{launch.name}: strategy = "kernels" makes no seed',
                cause="it starts no server, and a seed is what a server compiles on a target",
                hint='use strategy = "auto"; or `kernels compile`, where there is a GPU',
            )
        if launch.engine != "command" and launch.tp > self.target.count:
            raise UsageError(
                f"{launch.name}: needs {launch.tp} GPUs",
                cause=f"the target {self.target} has {self.target.count}",
                hint=f"name more of them: --target {self.target.kind}x{launch.tp}",
            )

    def lay_over(self, env: Mapping[str, str], run_dir: Path, trace: str = "") -> dict[str, str]:
        """The server's environment with the null device in it. trace: see `list_unserved`. Raises
        HostError."""
        state = self.home / "target"
        return {**env, **make_environment(self.target, env, state, run_dir, trace)}

    def list_unserved(self, env: Mapping[str, str]) -> list[str]:
        """A line for each library that this server met and the null device cannot serve."""
        found = list_own_runtimes(Path(env[TRACE])) if TRACE in env else []
        ways = [[way for part, way in _WAYS_OUT.items() if part in name] for name in found]
        return [
            ": ".join((f"{name} {_OWN_RUNTIME}", *way))
            for name, way in zip(found, ways, strict=True)
        ]

    def note_tuning(self, launch: Launch, before: Snapshot) -> None:
        """Write down which autotuners' results are there before the boot. Where an earlier run
        of this launch wrote that and was killed, take away what its autotuners left since."""
        found = {tuple(each): each for each in part_tuning(before)[1]}
        with self._open_folder() as folder:
            try:
                data = folder.read(f"{launch.key}.tuning", _MAX_BYTES)
            except FileNotFoundError:
                folder.write_atomic(f"{launch.key}.tuning", msgspec.json.encode(sorted(found)))
                return
        noted = set(msgspec.json.decode(data, type=list[tuple[str, str, str, str]]))
        remove_tuning([each for key, each in found.items() if key not in noted])

    def remove_tuning(
        self, launch: Launch, before: Snapshot, env: Mapping[str, str]
    ) -> list[Tuning]:
        """Remove what an autotuner wrote since `before`: it timed nothing. What that was."""
        found = find_new_tuning(before, take_snapshot(tuple(before.families), env))
        remove_tuning(found)
        with self._open_folder() as folder:
            folder.remove(f"{launch.key}.tuning")
        return found

    def _open_folder(self) -> Folder:
        return Folder.open(self.home / "target", create=True)

    def explain(self, error: WarmupError, launch: Launch, env: Mapping[str, str]) -> None:
        """Say of a model that is too large that it is so on the real GPUs as well, and of others
        which library may be why. env: the server's, as far as it is known."""
        error.hint = "; ".join(filter(None, (*self.list_unserved(env), error.hint))) or None
        if "out of memory" in error.reason.lower():
            profile = self.target.profile
            size = f"{launch.tp} x {profile.memory_bytes / _GIB:.1f} GiB of {profile.name}"
            error.hint = f"it does not fit {size}, there as little as here: raise TP, or lower what"
            error.hint += " the server reserves"


def make_seeding(text: str, driver: str, home: Path) -> Seeding:
    """text: `h200x8`. driver: "" for the profile's. Raises UsageError."""
    target = parse_target(text)
    if driver and not re.fullmatch(r"\d{3,}\.\d+(?:\.\d+)?", driver):
        raise UsageError(
            f"not a driver's version: {driver[:100]!r}", hint="as nvidia-smi shows it: 580.95.05"
        )
    return Seeding(target=target, driver=driver or target.profile.driver, home=home)


def _check_tuning(launch: Launch, env: Mapping[str, str]) -> None:
    asked = next((f"{name}={env[name]}" for name in _TIMED if env.get(name) == "1"), None)
    arguments = (*launch.command, *launch.fallback_args)
    asked = asked or next((each for each in arguments if _TIMED_ARGUMENT.search(each)), None)
    name, mode = _SGLANG_MODE
    if launch.engine == "sglang" and "--enable-torch-compile" in parse(arguments, "sglang").values:
        mode = env.get(name, mode)
        asked = asked or (f"{name}={mode}" if "max-autotune" in mode else None)
    if asked is not None:
        raise UsageError(
            f"{launch.name}: asks for autotuning, which needs the GPU",
            cause=f"{asked}: kernels are chosen by timing them, and a null device runs none",
            hint="seed without it; what it chooses is compiled on the GPU",
        )
