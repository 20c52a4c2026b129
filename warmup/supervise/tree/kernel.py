"""What Linux offers for holding a tree of processes, as far as Python's own modules lack it.

`prctl` has no Python function; `os.pidfd_open` is missing from interpreters that were built against
old kernel headers (python-build-standalone, which uv installs), although the kernel has it. Both
are reached through ctypes, which is imported on first use: only `run` and the shim need it.

Numbers are those of linux/prctl.h and of asm-generic/unistd.h (equal on every architecture for
system calls above 423).
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
from collections.abc import Iterator

TYPE_CHECKING = False  # `typing` would be a tenth of the shim's start
if TYPE_CHECKING:
    from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37
_SYS_PIDFD_SEND_SIGNAL = 424
_SYS_PIDFD_OPEN = 434


@functools.lru_cache(maxsize=1)
def _find_libc() -> Any:
    """The C library, or None where there is no Linux or no ctypes to call it with."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes
    except ImportError:
        return None
    return ctypes.CDLL(None, use_errno=True)


def _call(name: str, *args: Any) -> int:
    """Call the C library; raises OSError with its errno, ENOSYS where there is none."""
    import ctypes

    libc = _find_libc()
    if libc is None:
        raise OSError(38, "no Linux C library to call")
    result = int(getattr(libc, name)(*args))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _prctl(option: int, value: Any) -> bool:
    """False where the kernel or a seccomp filter refuses."""
    if _find_libc() is None:
        return False
    try:
        _call("prctl", option, value, 0, 0, 0)
    except OSError:
        return False
    return True


def set_subreaper(on: bool) -> bool:
    """Whether orphans below this process now come to it. The flag is not inherited over fork."""
    return _prctl(_PR_SET_CHILD_SUBREAPER, int(on))


def is_subreaper() -> bool:
    """Whether the flag is set; also False where the kernel does not know it."""
    if _find_libc() is None:
        return False
    import ctypes

    flag = ctypes.c_int(0)
    return _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(flag)) and bool(flag.value)


def set_death_signal(signum: int) -> bool:
    """Have the kernel send `signum` here when the *thread* that forked this process ends."""
    return _prctl(_PR_SET_PDEATHSIG, signum)


def find_pidfd(pid: int) -> int | None:
    """A descriptor that means this very process, whatever becomes of its number.

    None where the kernel has no pidfd. Raises ProcessLookupError when there is no such process.
    """
    try:
        if hasattr(os, "pidfd_open"):
            return os.pidfd_open(pid)
        return _call("syscall", _SYS_PIDFD_OPEN, pid, 0)
    except ProcessLookupError:
        raise
    except OSError:
        return None


def signal_pidfd(pidfd: int, signum: int) -> bool:
    """Whether the signal was sent: False when that process has ended. Raises PermissionError."""
    try:
        if hasattr(signal, "pidfd_send_signal"):
            signal.pidfd_send_signal(pidfd, signum)
        else:
            _call("syscall", _SYS_PIDFD_SEND_SIGNAL, pidfd, signum, None, 0)
    except ProcessLookupError:
        return False
    return True


def raise_priority() -> bool:
    """Run before all ordinary processes from now on: a fork bomb leaves a processor no time.

    Children start at the ordinary priority. False where we may not: it needs CAP_SYS_NICE.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except (AttributeError, OSError):
        return False
    return True


@contextlib.contextmanager
def raised_priority() -> Iterator[None]:
    """The same for a while."""
    is_raised = raise_priority()
    try:
        yield
    finally:
        if is_raised:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
