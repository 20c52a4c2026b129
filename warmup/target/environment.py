"""The environment in which a server meets the null device, and why one may not be used."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from warmup.caches.api import Libraries
from warmup.target.build import LIBRARIES, PROGRAMS, build_libraries
from warmup.target.profile import Target, encode_profile
from warmup.words.errors import UsageError
from warmup.words.files import read_regular, write_atomic

TRACE = "WARMUP_CI_NULL_TRACE"
_MAX_TRACE_BYTES = 64 << 20
HOOK = Path(__file__).parent / "hook"
# The CUDA release whose libraries are stood in for (their sonames say so).
CUDA_MAJOR = 13
# Where the driver's libcuda.so.1 is assumed to lie on the GPU machine: the folder is in the key of
# Triton's host stub `cuda_utils` (triton 3.8.0, runtime/build.py, `_get_cache_manager`). Where it
# lies elsewhere, TRITON_LIBCUDA_PATH says so, here and there.
DRIVER_FOLDER = "/lib/x86_64-linux-gnu"


def make_environment(
    target: Target, base: Mapping[str, str], state: Path, run_dir: Path, trace: str = ""
) -> dict[str, str]:
    """Variables to lay over a server's environment. base: that environment.

    state: where the compiled libraries are kept. run_dir: where the profile and the trace go, the
    latter as a file named `trace`.
    Raises HostError where there is no compiler.
    """
    libraries = build_libraries(state)
    profile = run_dir / f"{target}.profile"
    write_atomic(profile, encode_profile(target).encode())
    preload = [str(libraries / library.soname) for library in LIBRARIES]
    return {
        "LD_PRELOAD": _join(preload, base.get("LD_PRELOAD")),
        "PATH": _join([str(libraries / PROGRAMS)], base.get("PATH", os.defpath)),
        "PYTHONPATH": _join([str(HOOK)], base.get("PYTHONPATH")),
        # That folder is named to the linker, and has none: it finds ours by LIBRARY_PATH.
        "TRITON_LIBCUDA_PATH": base.get("TRITON_LIBCUDA_PATH") or DRIVER_FOLDER,
        "LIBRARY_PATH": _join([str(libraries)], base.get("LIBRARY_PATH")),
        "WARMUP_CI_NULL_PROFILE": str(profile),
        TRACE: str(run_dir / (trace or f"{target}.trace")),
    }


def _join(own: Sequence[str], said: str | None) -> str:
    return ":".join([*own, said] if said else own)


def list_own_runtimes(trace: Path) -> list[str]:
    """Names of the libraries with a CUDA runtime inside, as the null device wrote them down: they
    cannot be led to it."""
    try:
        text = read_regular(trace, _MAX_TRACE_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    events = (line.split(" ", 2) for line in text.splitlines())
    return sorted({Path(each[-1]).name for each in events if each[1:2] == ["own-runtime"]})


def find_real_driver(env: Mapping[str, str]) -> str | None:
    """A libcuda.so.1 that a program would load under `env`, or a device file of the driver."""
    if Path("/dev/nvidiactl").exists():
        return "/dev/nvidiactl"
    # Not ctypes.util.find_library: it asks the linker too, which finds the toolkit's stub by
    # LIBRARY_PATH, as NVIDIA's images for development set it.
    return Libraries(env, "", ()).find("libcuda.so.1")


def check_torch(torch_version: str, torch_cuda: str) -> None:
    """Raises UsageError where an engine's torch is not one that the null device can serve.

    torch_version, torch_cuda: as the version vector names them; "none" where there is none.
    """
    if torch_cuda.partition(".")[0] == str(CUDA_MAJOR):
        return
    what = (
        "no CUDA (it is a CPU build)"
        if torch_cuda in ("none", "", "None")
        else f"CUDA {torch_cuda}"
    )
    raise UsageError(
        "this engine's environment cannot warm for a target",
        cause=f"its torch {torch_version} was built for {what}; CUDA {CUDA_MAJOR} is wanted",
        hint=f"use an environment with a CUDA {CUDA_MAJOR} build, for example torch==2.14.1",
    )
