"""Files in folders that others may write in: no link is followed, nothing outside is touched.

The one owner of opening, creating, renaming and removing by name where the name may be hostile. A
`Folder` is a directory that was opened once; all it does is relative to that descriptor, so that
whoever renames a folder above it, or puts a link in its place, changes nothing for us.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# Ours alone, so that collecting what a SIGKILL left can never take a foreign file.
_PREFIX = ".warmup-ci-"
_SUFFIX = ".tmp"
_MAX_DEPTH = 200  # of a tree to remove; each level holds a descriptor
Opener = Callable[[str | Path], int]
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_regular(
    path: str | Path, *, dir_fd: int | None = None, follow: bool = False, mode: int = os.O_RDONLY
) -> int:
    """A descriptor of a regular file, to read; a FIFO, a device or a folder is refused at once.

    follow: whether the last part of the path may be a symbolic link (a hub cache has those).
    Raises OSError; EINVAL for what is not a regular file, ELOOP for a link.
    """
    flags = mode | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    fd = os.open(path, flags, dir_fd=dir_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return fd


def read_regular(
    path: str | Path, limit: int, *, dir_fd: int | None = None, follow: bool = False
) -> bytes:
    """All bytes of a regular file of at most `limit` bytes. Raises OSError; EFBIG for a larger one.

    `follow` is `open_regular`'s.
    """
    with os.fdopen(open_regular(path, dir_fd=dir_fd, follow=follow), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", str(path))
    return data


def read_head(path: str | Path, size: int = 65536, opener: Opener = open_regular) -> bytes:
    """The first bytes of a regular file, as `opener` opens it; b"" where it cannot be read."""
    try:
        with os.fdopen(opener(path), "rb", buffering=0) as file:
            return file.read(size) or b""
    except OSError:
        return b""


def open_folder(name: str, dir_fd: int) -> int:
    """A descriptor of the folder `name` in another one. Raises OSError; ELOOP for a link."""
    _check_name(name)
    try:
        return os.open(name, _FOLDER, dir_fd=dir_fd)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode):
            raise OSError(errno.ELOOP, "a symbolic link, which is not followed", name) from None
        raise


class Folder:
    """One directory, by descriptor. path: what it was called when it was opened, for messages.

    Names are single path components. What fails raises OSError; EINVAL for another name. A context.
    """

    def __init__(self, fd: int, path: Path) -> None:
        self.fd = fd
        self.path = path

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Folder:
        """The folder at `path`; its parents may be reached through links, itself it is not one.

        create: make it and its parents, mode 0700, where they are missing.
        """
        if create:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                path.mkdir(mode=0o700)
        return cls(os.open(path, _FOLDER), path)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def find_intruder(self) -> str | None:
        """Who else could change what lies here: `uid 1000 owns it`, `its mode is 1777`; or None."""
        status = os.fstat(self.fd)
        if status.st_uid not in (os.geteuid(), 0):  # root may change anything anyhow
            return f"uid {status.st_uid} owns it, and we run as uid {os.geteuid()}"
        if status.st_mode & 0o022:
            return f"others may write in it: its mode is {stat.S_IMODE(status.st_mode):o}"
        return None

    def open_folder(self, name: str, *, create: bool = False) -> Folder:
        """The folder `name` in this one; create: mode 0700, where it is missing."""
        _check_name(name)
        if create:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self.fd)
        return Folder(open_folder(name, self.fd), self.path / name)

    def descend(self, relative: str) -> Folder:
        """The folder at a relative path below this one, opened part by part; "" is this one again.

        Raises OSError (EXDEV) where the path crosses into another mount.
        """
        folder = Folder(os.dup(self.fd), self.path)
        mount = folder.get_mount()
        for part in filter(None, relative.split("/")):
            with folder:
                folder = folder.open_folder(part)
            if folder.get_mount() != mount:
                with folder:
                    raise OSError(errno.EXDEV, "another mount begins there", str(folder.path))
        return folder

    def get_mount(self) -> tuple[int, str]:
        """Device and mount id: a bind mount of the same filesystem differs in the second alone."""
        lines = Path(f"/proc/self/fdinfo/{self.fd}").read_text().splitlines()
        mount = next((line for line in lines if line.startswith("mnt_id:")), "")
        return os.fstat(self.fd).st_dev, mount.removeprefix("mnt_id:").strip()

    def stat(self, name: str) -> os.stat_result:
        _check_name(name)
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def list_names(self) -> list[str]:
        return sorted(os.listdir(self.fd))  # noqa: PTH208 - a descriptor has no path

    def open_file(self, name: str, *, append: bool = False) -> int:
        """`open_regular` in this folder, to read, or to write at the file's end."""
        _check_name(name)
        mode = os.O_WRONLY | os.O_APPEND if append else os.O_RDONLY
        return open_regular(name, dir_fd=self.fd, mode=mode)

    def read(self, name: str, limit: int) -> bytes:
        """`read_regular` in this folder."""
        _check_name(name)
        return read_regular(name, limit, dir_fd=self.fd)

    def create_file(self, name: str, *, append: bool = False, mode: int = 0o600) -> int:
        """A new file, to write; EEXIST where the name is taken, by a link too."""
        _check_name(name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(name, flags | (os.O_APPEND if append else 0), mode, dir_fd=self.fd)

    def write_atomic(
        self, name: str, data: bytes, mode: int = 0o600, *, durable: bool = True
    ) -> None:
        """Write a file whole or not at all: temporary file, fsync, rename, fsync of the folder.

        Readers see the old file or the new one. What raises (ENOSPC, EROFS, EISDIR, …) leaves the
        old file intact and no temporary. `mode` is what the umask leaves of it. durable: False, for
        what is made again after a crash of the machine, leaves out the fsyncs.
        """
        _check_name(name)
        temporary = f"{_PREFIX}{os.urandom(8).hex()}{_SUFFIX}"
        fd = self.create_file(temporary, mode=mode)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(fd)
            os.rename(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            # A signal handler may raise here too. Gone already: the rename had worked.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=self.fd)
            raise
        if durable:
            self.sync()

    def sync(self) -> None:
        try:
            os.fsync(self.fd)
        except OSError as error:
            # Some network filesystems cannot sync a folder; the rename itself has happened.
            if error.errno != errno.EINVAL:
                raise

    def collect_temporaries(self, older_than_s: float = 3600.0) -> list[str]:
        """Remove what killed writers left here, regular files of `write_atomic`'s naming alone.

        older_than_s: younger ones may belong to a writer at work. Returns the names removed.
        """
        removed: list[str] = []
        oldest = time.time() - older_than_s
        for name in self.list_names():
            if not (name.startswith(_PREFIX) and name.endswith(_SUFFIX)):
                continue
            with contextlib.suppress(FileNotFoundError, PermissionError):  # another was faster
                status = self.stat(name)
                if stat.S_ISREG(status.st_mode) and status.st_mtime <= oldest:
                    self.unlink(name)
                    removed.append(name)
        return removed

    def rename(self, name: str, new_name: str, into: Folder | None = None) -> None:
        """Rename within this folder, or into another one; what has the new name is replaced."""
        _check_name(name)
        _check_name(new_name)
        os.rename(name, new_name, src_dir_fd=self.fd, dst_dir_fd=(into or self).fd)

    def unlink(self, name: str) -> None:
        """Remove a file, or a link itself."""
        _check_name(name)
        os.unlink(name, dir_fd=self.fd)

    def rmdir(self, name: str) -> None:
        """Remove an empty folder."""
        _check_name(name)
        os.rmdir(name, dir_fd=self.fd)

    def remove(self, name: str) -> bool:
        """Remove a file, a link, or a whole folder; False where there is none of that name.

        A folder goes in one step, renamed to what every family takes for a temporary and then
        emptied: no server meets a half. Links below are unlinked, not followed. Raises OSError:
        EXDEV where another mount begins inside (nothing is removed), ELOOP where it is too deep.
        """
        try:
            if not stat.S_ISDIR(self.stat(name).st_mode):
                self.unlink(name)
                return True
            with self.open_folder(name) as inside:
                _check_tree(inside, self.get_mount(), 0)
            aside = f"tmp.pid_{os.getpid()}_{os.urandom(8).hex()}"
            self.rename(name, aside)
        except FileNotFoundError:
            return False
        with self.open_folder(aside) as inside:
            _empty(inside, self.get_mount(), 0)
        os.rmdir(aside, dir_fd=self.fd)
        return True


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """`Folder.write_atomic` for a file that a user named; its folder exists."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with Folder(fd, path.parent) as to:
        to.write_atomic(path.name, data, mode)


def _check_name(name: str) -> None:
    if not name or "/" in name or "\0" in name or name in (".", ".."):
        raise OSError(errno.EINVAL, "not the name of one file", name)


def _iter_folders(folder: Folder) -> Iterator[str]:
    with os.scandir(folder.fd) as entries:
        yield from [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def _check_tree(folder: Folder, mount: tuple[int, str], depth: int) -> None:
    if folder.get_mount() != mount:
        raise OSError(errno.EXDEV, "another mount begins there", str(folder.path))
    if depth >= _MAX_DEPTH:
        raise OSError(errno.ELOOP, "nested too deep to remove", str(folder.path))
    for name in _iter_folders(folder):
        with folder.open_folder(name) as inside:
            _check_tree(inside, mount, depth + 1)


def _empty(folder: Folder, mount: tuple[int, str], depth: int) -> None:
    """Checked again on the way: what was mounted since the first look must not be emptied."""
    if folder.get_mount() != mount or depth >= _MAX_DEPTH:
        raise OSError(errno.EXDEV, "another mount begins there", str(folder.path))
    for name in _iter_folders(folder):
        with folder.open_folder(name) as inside:
            _empty(inside, mount, depth + 1)
        os.rmdir(name, dir_fd=folder.fd)
    for name in folder.list_names():
        folder.unlink(name)
