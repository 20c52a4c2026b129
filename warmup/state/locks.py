"""One run at a time per launch: the second waits, and then finds it warm."""

from __future__ import annotations

import time
from collections.abc import Callable

from warmup.state.home import Home
from warmup.words.errors import WarmupError
from warmup.words.locks import Lock, get_holder, try_lock

_POLL_S = 0.1


def hold_launch_lock(
    home: Home,
    launch_key: str,
    *,
    deadline: float | None = None,
    on_wait: Callable[[str], None] = lambda holder: None,
    wait: Callable[[float], None] = time.sleep,
) -> Lock:
    """Hold the lock of one launch, as a context manager.

    deadline: of `time.monotonic`, None for ever. on_wait: called once if another holds it, with
    who that is. wait: sleeps that many seconds; what it raises (Cancelled) ends the waiting.
    Raises WarmupError at the deadline, HostError where flock or the folder is not to be had.
    """
    name, has_told = f"{launch_key}.lock", False
    while True:
        if has_told:
            home.ensure()  # whoever removed it meanwhile took the lock that we waited for along
        folder = home.get_folder("locks")
        try:
            lock = try_lock(folder, name)
        except FileNotFoundError:  # removed since it was opened
            has_told = True
            continue
        if lock is not None:
            lock.sign()
            return lock
        holder = get_holder(folder, name)
        if not has_told:
            has_told = True
            on_wait(holder)
        if deadline is not None and time.monotonic() >= deadline:
            raise WarmupError(
                "another run is still warming this launch",
                cause=f"{holder} holds {home.locks / name}",
                hint="wait for it, or give more time with --deadline",
            )
        wait(_POLL_S)
