"""Is this host fit to warm models: folders, disks, locks, limits."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from warmup.caches.api import get_family
from warmup.report.api import get_count
from warmup.state.home import Home
from warmup.words.errors import HostError
from warmup.words.locks import find_flock_fault
from warmup.words.names import FAMILY_NAMES

_SHM = Path("/dev/shm")
_GIB = 1 << 30
# Cold caches of one large model take some GiB, logs and manifests little.
_DISK_FAIL, _DISK_WARN = _GIB // 4, 10 * _GIB
_INODES_FAIL, _INODES_WARN = 1_000, 50_000
# Docker gives 64 MiB; NCCL and multiprocessing want about 1 GiB for eight ranks.
_SHM_WARN = _GIB
# sglang and vLLM open sockets and cubins by the thousand.
_FILES_FAIL, _FILES_WARN = 256, 4096


Level = Literal["ok", "warn", "fail"]


class HostCheck(msgspec.Struct, frozen=True):
    """level: `warn` leaves the host usable, `fail` does not. hint: what to do, "" if nothing.

    is_unsafe: a host on which a command may still be tried, but that must not take jobs.
    """

    level: Level
    name: str
    detail: str
    hint: str = ""
    is_unsafe: bool = False


def check_home(home: Home) -> list[HostCheck]:
    """Writable, ours, and not open to others: a marker says which code will be loaded."""
    try:
        folders = [home.find_folder(name) for name in ("", *home.FOLDERS)]
    except HostError as error:
        return [HostCheck("fail", "home", error.reason, error.hint or "")]
    if not home.is_writable():
        hint = "make it writable for this user, or set WARMUP_CI_HOME"
        return [HostCheck("fail", "home", f"{home.path} is not writable", hint)]
    if folders[0] is None:
        return [HostCheck("ok", "home", f"{home.path}, not made yet")]
    return [HostCheck("ok", "home", str(home.path))]


def check_disk(home: Home, env: Mapping[str, str]) -> list[HostCheck]:
    """Free bytes and inodes, once per filesystem that home or caches are on."""
    found, seen = [], set()
    roots = [root for name in FAMILY_NAMES for root in get_family(name).get_roots(env)]
    for path in (home.path, *roots):
        nearest = _get_existing(path)
        device = nearest.stat().st_dev
        if device not in seen:
            seen.add(device)
            found += [_check_bytes(nearest), _check_inodes(nearest)]
    return found


def check_locks(home: Home) -> list[HostCheck]:
    """Whether a second holder is refused what a first one has locked: NFS and overlays may not."""
    folder = _get_existing(home.locks)
    path = folder / f".warmup-ci-{os.urandom(8).hex()}.tmp"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        return [HostCheck("warn", "locks", f"not tried in {folder}: {error.strerror}")]
    try:
        fault = find_flock_fault(path)
    finally:
        path.unlink()
    if fault is not None:
        hint = "set WARMUP_CI_HOME to a folder on a local filesystem"
        return [HostCheck("fail", "locks", f"file locks do not work under {folder}: {fault}", hint)]
    return [HostCheck("ok", "locks", f"flock excludes other holders under {folder}")]


def check_shm() -> list[HostCheck]:
    """Size of /dev/shm, and what is free of it."""
    hint = "start the container with --ipc=host or --shm-size=16g"
    try:
        size = os.statvfs(_SHM)
    except OSError as error:
        return [HostCheck("warn", "/dev/shm", error.strerror or str(error), hint)]
    total, free = size.f_blocks * size.f_frsize, size.f_bavail * size.f_frsize
    detail = f"{_format(free)} of {_format(total)} free"
    if total < _SHM_WARN:
        return [HostCheck("warn", "/dev/shm", detail, hint)]
    if free < _SHM_WARN:
        hint = "killed servers leave segments; see /dev/shm"
        return [HostCheck("warn", "/dev/shm", detail, hint)]
    return [HostCheck("ok", "/dev/shm", detail)]


def check_caches(env: Mapping[str, str]) -> list[HostCheck]:
    """Ownership of the folders that code is loaded from, and whether servers can fill them."""
    found, num_found = [], 0
    for name in FAMILY_NAMES:
        for root in get_family(name).get_roots(env):
            if not _is_dir(root):
                continue
            num_found += 1
            problem = _find_exposure(root)
            if problem is not None:
                hint = f"chmod go-w {root}"
                found.append(
                    HostCheck("warn", f"cache {name}", f"{root} {problem}", hint, is_unsafe=True)
                )
            elif not os.access(root, os.W_OK | os.X_OK):
                detail = f"{root} is not writable: what a server compiles is lost"
                found.append(HostCheck("warn", f"cache {name}", detail, f"chown or chmod {root}"))
    folders = get_count(num_found, "folder")
    return found or [HostCheck("ok", "caches", f"{folders}, none open to others")]


def check_open_files() -> list[HostCheck]:
    """RLIMIT_NOFILE."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    detail, hint = f"{soft} open files (hard limit {hard})", "raise it: ulimit -n 65535"
    unlimited = soft == resource.RLIM_INFINITY
    if unlimited or soft >= _FILES_WARN:
        return [HostCheck("ok", "open files", "unlimited" if unlimited else detail)]
    level: Level = "fail" if soft < _FILES_FAIL else "warn"
    return [HostCheck(level, "open files", detail, hint)]


def _find_exposure(folder: Path) -> str | None:
    """Why others could change what we load from here; None if they can't."""
    status = folder.stat()
    if status.st_uid not in (os.getuid(), 0):
        return f"belongs to user {status.st_uid}, not to us ({os.getuid()})"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"is writable by others (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def _check_bytes(folder: Path) -> HostCheck:
    size = os.statvfs(folder)
    free = size.f_bavail * size.f_frsize
    detail = f"{_format(free)} free at {folder}"
    if free >= _DISK_WARN:
        return HostCheck("ok", "disk", detail)
    level: Level = "fail" if free < _DISK_FAIL else "warn"
    return HostCheck(level, "disk", detail, "free some space: `warmup-ci gc` may help")


def _check_inodes(folder: Path) -> HostCheck:
    size = os.statvfs(folder)
    if size.f_files == 0:  # btrfs and some network filesystems make them as needed
        return HostCheck("ok", "inodes", f"not limited at {folder}")
    detail = f"{size.f_favail} free at {folder}"
    if size.f_favail >= _INODES_WARN:
        return HostCheck("ok", "inodes", detail)
    level: Level = "fail" if size.f_favail < _INODES_FAIL else "warn"
    return HostCheck(level, "inodes", detail, "remove small files: `warmup-ci gc` may help")


def _is_dir(path: Path) -> bool:
    """False too where we may not look; `Path.is_dir` raises there before Python 3.14."""
    return os.path.isdir(path)  # noqa: PTH112


def _get_existing(path: Path) -> Path:
    while not _is_dir(path) and path != path.parent:
        path = path.parent
    return path


def _format(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"
