"""A mark on every process of a run that no server can wipe: the RLIMIT_LOCKS soft limit.

It survives fork, setsid, exec with an empty environment, closed descriptors and retitling, needs
no privilege, is read by anyone in /proc/PID/limits, and the kernel has not enforced it since 2.4.
An environment variable will not do: setproctitle zeroes all of /proc/PID/environ.

A run draws one number; its servers wear that number plus 0, 1, 2, …, so that one line in the
ledger, written before anything is forked, names them all, and each server's are still told apart.
"""

from __future__ import annotations

import os

from warmup.supervise.tree import proc

_RLIMIT_LOCKS = 10  # asm-generic/resource.h; Python's resource module has no name for it
_LINE = b"\nMax file locks"
_SERVERS_PER_RUN = 1024
_HIGHEST = 1 << 62
LOWEST = 1 << 32  # below it a number would not be ours alone


def find_new_cookie() -> int | None:
    """A random number for a run; None where the hard limit leaves no room for one."""
    import resource

    hard = resource.getrlimit(_RLIMIT_LOCKS)[1]
    highest = _HIGHEST if hard == resource.RLIM_INFINITY else min(hard, _HIGHEST)
    room = highest - LOWEST - _SERVERS_PER_RUN
    return LOWEST + int.from_bytes(os.urandom(16), "big") % room if room > LOWEST else None


def get_run_cookies(cookie: int) -> range:
    """Every number that a process of the run may wear."""
    return range(cookie, cookie + _SERVERS_PER_RUN)


def get_server_cookies(cookie: int, index: int) -> range:
    """The one number of the run's server `index`; reused only after 1024 servers."""
    own = cookie + index % _SERVERS_PER_RUN
    return range(own, own + 1)


def wear(cookie: int) -> None:
    """Mark this process and all that it will fork. Raises OSError or ValueError where refused."""
    import resource

    resource.setrlimit(_RLIMIT_LOCKS, (cookie, resource.getrlimit(_RLIMIT_LOCKS)[1]))


def find_cookie(pid: int) -> int | None:
    """The soft limit of a living process or a zombie; None when it is gone or has no limit."""
    text = proc.find_text(f"/proc/{pid}/limits")
    if text is None or (at := text.find(_LINE)) < 0:
        return None
    word = text[at + len(_LINE) :].split(None, 1)[0]
    return int(word) if word.isdigit() else None


def list_bearers(cookies: range) -> list[int]:
    """Every process that wears one of them, zombies included; 12 µs per process of the host.

    One that forks and exits meanwhile may be missed, and its child too.
    """
    return [pid for pid in proc.list_pids() if find_cookie(pid) in cookies]


def is_readable() -> bool:
    """Whether this kernel shows the limit at all."""
    text = proc.find_text(f"/proc/{os.getpid()}/limits")
    return text is not None and _LINE in text
