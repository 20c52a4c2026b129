"""Fetch what the hub's cache lacks, by the huggingface_hub of the engine's interpreter.

It knows the cache, the token, the proxy and the endpoint of the server's environment.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from warmup.launch.hub_cache import get_hub_cache
from warmup.launch.launch import Launch
from warmup.words.errors import WarmupError

# `code`: all but the weights.
Wanted = Literal["config", "code", "all"]
_HEARTBEAT_S = 30.0


def download(
    launch: Launch,
    env: Mapping[str, str],
    wanted: Wanted,
    *,
    timeout_s: float | None = None,
    tell: Callable[[str], None] = lambda text: None,
    has_terminal: bool = False,
) -> None:
    """Fetch a hub id's files, those alone that are not there.

    env: the server's. timeout_s: None without a limit. tell: hears a line every 30 s. has_terminal:
    whether stderr shows huggingface_hub's own progress bars. Raises WarmupError, which names the
    model and why.
    """
    source = Path(__file__).with_name("hub_fetch.py").read_text()
    revision = launch.revision or "main"
    args = (launch.model, revision, str(get_hub_cache(env).absolute()), wanted)
    variables = {**env, **({} if has_terminal else {"HF_HUB_DISABLE_PROGRESS_BARS": "1"})}
    with tempfile.TemporaryFile() as answer:
        try:
            child = subprocess.Popen(
                [launch.python, "-c", source, *args],
                env=variables,
                cwd="/",  # `-c` looks for modules in the current folder first
                stdin=subprocess.PIPE,  # it ends with us
                stdout=answer,
                stderr=None if has_terminal else subprocess.DEVNULL,
            )
        except OSError as error:
            raise _make_error(launch, wanted, f"{launch.python}: {error.strerror}") from error
        with child:
            try:
                is_done = _wait(child, timeout_s, lambda text: tell(f"{launch.name}: {text}"))
            finally:
                child.kill()
        if not is_done:
            raise _make_error(launch, wanted, f"not done within {timeout_s:.0f} s")
        if child.returncode:
            answer.seek(0)
            cause = _read_error(answer.read(1 << 16)) or f"exit status {child.returncode}"
            raise _make_error(launch, wanted, cause)


def _wait(
    child: subprocess.Popen[bytes], timeout_s: float | None, tell: Callable[[str], None]
) -> bool:
    """Whether it has ended in time."""
    begin = time.monotonic()
    while True:
        spent = time.monotonic() - begin
        left = _HEARTBEAT_S if timeout_s is None else timeout_s - spent
        if left <= 0:
            return False
        try:
            child.wait(min(left, _HEARTBEAT_S))
            return True
        except subprocess.TimeoutExpired:
            tell(f"downloading for {time.monotonic() - begin:.0f} s")


def _read_error(answer: bytes) -> str:
    """Of the last line: what else it printed stands before it."""
    try:
        return str(msgspec.json.decode(answer.splitlines()[-1], type=dict[str, str])["error"])
    except (IndexError, KeyError, msgspec.DecodeError):
        return ""


def _make_error(launch: Launch, wanted: Wanted, cause: str) -> WarmupError:
    what = "config.json" if wanted == "config" else "the model"
    hint = "is the hub reachable, the id right, and HF_TOKEN set for a gated model?"
    if "No module named" in cause:
        hint = f"install huggingface_hub for {launch.python}"
    lines = cause.strip().splitlines() or [""]
    return WarmupError(f"cannot download {what} of {launch.model}", cause=lines[0][:500], hint=hint)
