"""`WARMUP_CI_HOME`: where markers, manifests, runs and locks live (design.md section 5)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from warmup.words.errors import HostError
from warmup.words.files import Folder
from warmup.words.locations import expand, get_cache_home

_HINT = "make it writable for this user, or set WARMUP_CI_HOME to a folder that is"
_OWN_HINT = "make it yours and closed to others (chown, chmod go-w), or set WARMUP_CI_HOME to"


class Home:
    """The folders of one home, each opened once, without following a link, and only if it is safe:
    a marker says which code will be loaded, so nobody else may write here.

    What is done in them is done relative to those descriptors; the paths are for messages.
    Made by `ensure`, only looked at before. May be read-only.
    """

    FOLDERS = ("markers", "manifests", "runs", "locks")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.markers = path / "markers"
        self.manifests = path / "manifests"
        self.runs = path / "runs"
        self.locks = path / "locks"
        self._opened: dict[str, Folder] = {}

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self.path, self.markers, self.manifests, self.runs, self.locks)

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    def __del__(self) -> None:
        for folder in getattr(self, "_opened", {}).values():
            folder.close()

    def find_folder(self, name: str = "") -> Folder | None:
        """The home itself, or one of FOLDERS; None where it is missing. Do not close it.

        Raises HostError where another user owns it or may write in it, and where it is a link, no
        folder, or not to be opened.
        """
        known = self._opened.get(name)
        if known is not None and os.fstat(known.fd).st_nlink > 0:
            return known
        if known is not None:  # removed, and perhaps made anew
            self._opened.pop(name).close()
        try:
            folder = self._open(name)
        except FileNotFoundError:
            return None
        self._opened[name] = folder
        return folder

    def get_folder(self, name: str = "") -> Folder:
        """`find_folder`; HostError also where it is missing."""
        folder = self.find_folder(name)
        if folder is None:
            raise HostError(
                f"home is not there: {self.path / name}",
                cause="No such file or directory (errno 2)",
                hint=_HINT,
            )
        return folder

    def _open(self, name: str) -> Folder:
        path = self.path / name
        try:
            parent = self.find_folder() if name else None
            if name and parent is None:
                raise FileNotFoundError(2, "No such file or directory")
            folder = parent.open_folder(name) if parent is not None else Folder.open(self.path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unusable(path, error) from error
        intruder = folder.find_intruder()
        if intruder is not None:
            folder.close()
            raise HostError(
                f"home is not safe to use: {path}",
                cause=intruder,
                hint=f"{_OWN_HINT} a folder of your own",
            )
        return folder

    def ensure(self) -> None:
        """Make the folders, 0700 where they are new. Raises HostError if unusable."""
        for name in ("", *self.FOLDERS):
            path = self.path / name
            try:
                folder = self.find_folder(name)
                if folder is None:
                    self._make(name)
                    folder = self.get_folder(name)
            except OSError as error:
                raise _not_writable(path, error) from error
            if not os.access(".", os.R_OK | os.W_OK | os.X_OK, dir_fd=folder.fd):
                raise _not_writable(path, _find_refusal(folder))

    def _make(self, name: str) -> None:
        if name:
            self.get_folder().open_folder(name, create=True).close()
        else:
            Folder.open(self.path, create=True).close()

    def is_writable(self) -> bool:
        """Whether `ensure` would work, as far as can be seen without writing."""
        for folder in self.folders:
            nearest = folder
            while not os.path.lexists(nearest) and nearest != nearest.parent:
                nearest = nearest.parent
            if not nearest.is_dir() or not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
                return False
        return True

    def make_run_dir(self, run_id: str) -> Path:
        """A new `runs/<run id>`, mode 0700. Raises HostError."""
        try:
            os.mkdir(run_id, 0o700, dir_fd=self.get_folder("runs").fd)
        except OSError as error:
            raise _not_writable(self.runs / run_id, error) from error
        return self.runs / run_id


def get_home(env: Mapping[str, str]) -> Home:
    """`WARMUP_CI_HOME`, else `$XDG_CACHE_HOME/warmup-ci`, else `~/.cache/warmup-ci`; absolute.

    An empty variable counts as unset, and a relative XDG_CACHE_HOME is ignored.
    """
    if env.get("WARMUP_CI_HOME"):
        return Home(expand(env["WARMUP_CI_HOME"], env))
    return Home(expand(str(get_cache_home(env, is_strict=True)), env) / "warmup-ci")


def make_run_id() -> str:
    """A new name that sorts by time: `20261121T010203Z-1a2b3c`."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(3).hex()}"


def _not_writable(folder: Path, error: OSError) -> HostError:
    return HostError(
        f"home is not writable: {folder}",
        cause=f"{error.strerror} (errno {error.errno})",
        hint=_HINT,
    )


def _unusable(folder: Path, error: OSError) -> HostError:
    if folder.is_symlink():
        return HostError(
            f"home is not safe to use: {folder}",
            cause="it is a symbolic link",
            hint=f"set WARMUP_CI_HOME to {folder.resolve()} itself, if that is a home of yours",
        )
    return _not_writable(folder, error)


def _find_refusal(folder: Folder) -> OSError:
    """The errno that `access` swallowed, found by trying what the folder is needed for."""
    probe = f".warmup-ci-{os.urandom(8).hex()}.tmp"
    try:
        os.close(folder.create_file(probe))
        folder.unlink(probe)
    except OSError as error:
        return error
    return PermissionError(13, "Permission denied")
