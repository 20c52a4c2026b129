"""Which nvcc the JIT compilers will run, spelled as they spell it, and its version."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import msgspec

from warmup.state.executable import find_on_path, is_executable
from warmup.state.values import NONE, make_unreadable
from warmup.words.encoding import get_digest
from warmup.words.errors import HostError

_VERSION = re.compile(r"release [\d.]+, V?([\d.]+)")
_RELEASE = re.compile(r"release (\d+)\.(\d+)")
_TIMEOUT_S = 30


class Toolkit(msgspec.Struct, frozen=True):
    """home: the CUDA home, unresolved: FlashInfer's ninja files hold its very spelling
    (flashinfer#4884). nvcc: its path. "none" without one."""

    home: str
    nvcc: str


def find_toolkit(env: Mapping[str, str]) -> Toolkit:
    """torch 2.13's order (utils/cpp_extension.py, _find_cuda_home): CUDA_HOME, CUDA_PATH, the
    nvcc on PATH, /usr/local/cuda."""
    home = env.get("CUDA_HOME") or env.get("CUDA_PATH") or ""
    if not home:
        found = find_on_path("nvcc", env)
        if found is not None:
            return Toolkit(os.path.dirname(os.path.dirname(found)), found)  # noqa: PTH120
        home = "/usr/local/cuda"
    nvcc = f"{home.rstrip('/')}/bin/nvcc"
    if is_executable(nvcc):
        return Toolkit(home, nvcc)
    return Toolkit(home if os.path.isdir(home) else NONE, NONE)  # noqa: PTH112


def get_nvcc_version(nvcc: str) -> str:
    """`13.0.88` (about 5 ms); `unknown: …` where what it says names none, `unreadable: …` where it
    does not answer: a starved host, or a broken toolkit.

    Asked each time: a file beside it that names the version (version.json) can outlive it, and
    a wrapper script tells nothing by its size and time.
    """
    if nvcc == NONE:
        return NONE
    try:
        text = get_nvcc_text(nvcc)
    except HostError as error:
        return make_unreadable(error.cause or error.what)
    match = _VERSION.search(text)
    return match.group(1) if match else f"unknown: {get_digest(text)[:16]}"


def get_nvcc_text(nvcc: str) -> str:
    """All that `nvcc --version` prints. Raises HostError where it does not run, does not answer
    in time, or fails."""
    import subprocess

    try:
        done = subprocess.run(
            [nvcc, "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{nvcc} does not answer", cause=f"silent for {_TIMEOUT_S} s") from error
    except OSError as error:
        raise HostError(f"{nvcc} does not run", cause=error.strerror) from error
    if done.returncode != 0:
        raise HostError(f"{nvcc} fails", cause=f"exit status {done.returncode}")
    return done.stdout.decode("utf-8", "replace")


def find_release(version: str) -> tuple[int, int] | None:
    """(13, 0) of what `nvcc --version` prints; None where it names no release."""
    match = _RELEASE.search(version)
    return None if match is None else (int(match.group(1)), int(match.group(2)))
