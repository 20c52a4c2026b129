"""Reading /proc: who lives, whose child it is, what it runs. Nothing here sends a signal.

A process may end between any two reads, so every reader answers None (or leaves it out) then.
Formats: proc(5), Linux 6.18.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

# State Z has ended and only awaits its parent; PID 1 may never reap it. X is on its way out.
_ENDED = ("Z", "X")
# What multiprocessing/resource_tracker.py runs, CPython 3.8 to 3.14, also when loky copies it.
_TRACKER_MARK = b"resource_tracker import main"
_NUM_LATEST = 32
_MAX_DEPTH = 32_768  # a chain of parents is no longer than there are pids; it ends at 0


class Stat:
    """Of /proc/PID/stat. start: clock ticks since boot, which tells a pid's uses apart."""

    __slots__ = ("num_threads", "ppid", "session", "start", "state")

    def __init__(
        self, ppid: int, state: str, start: int, num_threads: int = 1, session: int = 0
    ) -> None:
        self.ppid = ppid
        self.state = state
        self.start = start
        self.num_threads = num_threads
        self.session = session

    @property
    def has_ended(self) -> bool:
        """Not where only its first thread did: the others run on under a Z."""
        return self.state in _ENDED and self.num_threads <= 1


def find_text(path: str) -> bytes | None:
    """The first 64 KiB of a file of /proc; None when its process is gone or hidden from us."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, 65536)
    except OSError:
        return None
    finally:
        os.close(fd)


def find_stat(pid: int) -> Stat | None:
    text = find_text(f"/proc/{pid}/stat")
    if not text:
        return None
    # The name may hold spaces and parentheses: only what follows the last one is fields.
    fields = text[text.rindex(b")") + 2 :].split()
    return Stat(
        ppid=int(fields[1]),
        state=fields[0].decode(),
        start=int(fields[19]),
        num_threads=int(fields[17]),
        session=int(fields[3]),
    )


def is_living(pid: int) -> bool:
    """Whether a process of this number runs (a zombie does not)."""
    stat = find_stat(pid)
    return stat is not None and not stat.has_ended


def list_pids() -> list[int]:
    """Every process this one can see, ascending; empty where there is no /proc."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - hot
    except OSError:
        return []


def iterate_youngest_first() -> Iterator[int]:
    """The same, by age as far as numbers tell: they are given out in turn, and start over.

    First those that were given out last, without the listing, which takes longer than a process
    may live. So some have no process, and some come twice.
    """
    words = (find_text("/proc/loadavg") or b"0").split()
    last = int(words[-1])  # the number given out last
    yield from range(last, max(0, last - _NUM_LATEST), -1)
    yield from sorted(list_pids(), key=lambda pid: (pid > last, -pid))


def list_children(pid: int) -> list[int]:
    """Direct children of all threads, zombies included.

    From the kernel's own lists, which miss nobody as long as only the caller reaps; or by a walk
    over /proc on kernels built without CONFIG_PROC_CHILDREN.
    """
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - hot
    except OSError:
        return []
    texts = [find_text(f"/proc/{pid}/task/{thread}/children") for thread in threads]
    if any(text is not None for text in texts):
        return [int(word) for text in texts for word in (text or b"").split()]
    stats = ((child, find_stat(child)) for child in list_pids())
    return [child for child, stat in stats if stat is not None and stat.ppid == pid]


def list_descendants(pid: int) -> list[int]:
    """Its children, theirs, and so on, as far as they hold still meanwhile."""
    found = list_children(pid)
    for child in found:  # grows while it is walked
        found.extend(list_children(child))
    return found


def has_ancestor(pid: int, ancestors: Collection[int]) -> bool:
    """Whether one of `ancestors` is its parent, or that one's, and so on, now."""
    for _ in range(_MAX_DEPTH):
        stat = find_stat(pid)
        if stat is None or stat.ppid in ancestors:
            return stat is not None
        pid = stat.ppid
    return False


def is_resource_tracker(pid: int) -> bool:
    """Whether it is a helper of multiprocessing that unlinks shared memory once its users ended.

    Killed with the rest it leaves every `psm_*` in /dev/shm, left alone for some milliseconds it
    leaves none. Only ever asked of processes that are known to be ours.
    """
    text = find_text(f"/proc/{pid}/cmdline")
    return text is not None and _TRACKER_MARK in text


def describe(pid: int) -> str:
    """For a human: `pid 12 (python3 -m server), state D`."""
    stat = find_stat(pid)
    state = "gone" if stat is None else f"state {stat.state}"
    return f"pid {pid} ({get_command(pid)}), {state}"


def get_command(pid: int) -> str:
    """The command line, at most 120 characters, or the name in brackets where there is none.

    Waits for the fork that the process may be in.
    """
    text = find_text(f"/proc/{pid}/cmdline") or b""
    words = _get_printable(text.rstrip(b"\0").replace(b"\0", b" "))
    return words[:120] or f"[{get_name(pid)}]"


def get_name(pid: int) -> str:
    """The name, at most 15 characters, also of a zombie; `?` where it is gone."""
    return _get_printable((find_text(f"/proc/{pid}/comm") or b"?").strip())


def _get_printable(text: bytes) -> str:
    return "".join(c if c.isprintable() else "?" for c in text.decode("utf-8", "backslashreplace"))
