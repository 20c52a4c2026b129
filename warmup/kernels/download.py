"""Fetch the config.json that the hub cache lacks, and only it (`--download`)."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from warmup.kernels.config import get_config_path
from warmup.kernels.shapes.architecture import NotModelledError
from warmup.launch.api import Launch
from warmup.words.errors import WarmupError

_TIMEOUT_S = 300
# In the server's environment: its huggingface_hub knows its cache, its token and its proxy.
_CODE = (
    "import sys, huggingface_hub; "
    "huggingface_hub.hf_hub_download(sys.argv[1], 'config.json', revision=sys.argv[2] or None)"
)


def download_config(launch: Launch, env: Mapping[str, str]) -> None:
    """env: the server's. Raises WarmupError where it cannot be fetched."""
    try:
        get_config_path(launch.model, launch.revision, env)
    except NotModelledError:
        _download(launch, env)


def _download(launch: Launch, env: Mapping[str, str]) -> None:
    command = [launch.python, "-c", _CODE, launch.model, launch.revision or ""]
    try:
        done = subprocess.run(
            command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise _make_error(launch, f"{launch.python}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise _make_error(launch, f"no answer within {_TIMEOUT_S} s") from error
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise _make_error(launch, lines[-1] if lines else f"exit status {done.returncode}")


def _make_error(launch: Launch, cause: str) -> WarmupError:
    return WarmupError(
        f"cannot download config.json of {launch.model}",
        cause=cause[:500],
        hint="is the hub reachable, the id right, and HF_TOKEN set for a gated model?",
    )
