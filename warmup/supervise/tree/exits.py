"""How a server's processes ended, and whether that was their own doing."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from enum import Enum, auto

from warmup.supervise.tree import oom

# What ends a process and is not its own doing: the OOM killer, the user, a runner.
_FROM_OUTSIDE = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
)


class ExitKind(Enum):
    EXITED = auto()
    KILLED = auto()
    LOST_SHIM = auto()
    BROKE_SHIM = auto()
    ENDED_BY_US = auto()


@dataclass(frozen=True)
class LeaderExit:
    """kind: what is known. status: the wait status where it exited or was killed.

    num_left: processes of a leader that exited with 0 and live on (it daemonized). is_oom: whether
    the kernel's out-of-memory killer struck on this host meanwhile. detail: how it broke its shim.
    """

    kind: ExitKind
    status: int = 0
    num_left: int = 0
    is_oom: bool = False
    detail: str = ""

    def __str__(self) -> str:
        """`exited with status 7`, `was killed by SIGKILL`, to stand behind its name."""
        match self.kind:
            case ExitKind.LOST_SHIM:
                return "lost its shim, which was killed"
            case ExitKind.BROKE_SHIM:
                return f"broke its shim: {self.detail}"
            case ExitKind.ENDED_BY_US:
                return "was ended with its shim"
        left = f", and {self.num_left} of its processes live on" if self.num_left else ""
        hint = f"; {oom.HINT}" if self.is_oom else ""
        return f"{describe_status(self.status)}{left}{hint}"

    @property
    def is_own_doing(self) -> bool:
        """Whether it ended on its own account, which speaks against what was said to be warm."""
        has_status = self.kind in (ExitKind.EXITED, ExitKind.KILLED)
        return has_status and not is_from_outside(self.status)

    @property
    def may_be_in_log(self) -> bool:
        """Whether its log may tell why: it does not of an end in order, or from outside."""
        return self.is_own_doing and self.status != 0


def is_from_outside(status: int) -> bool:
    """Whether a wait status says that a signal ended the process which others send."""
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) in _FROM_OUTSIDE


def describe_status(status: int) -> str:
    """`exited with status 7`, `was killed by SIGSEGV`, `was killed by signal 40`."""
    if not os.WIFSIGNALED(status):
        return f"exited with status {os.WEXITSTATUS(status)}"
    number = os.WTERMSIG(status)
    known = number in set(signal.Signals)
    return f"was killed by {signal.Signals(number).name if known else f'signal {number}'}"
