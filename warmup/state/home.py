"""`WARMUP_CI_HOME`: where markers, manifests, runs and locks live (design.md section 5)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from warmup.words.errors import HostError

_HINT = "make it writable for this user, or set WARMUP_CI_HOME to a folder that is"


class Home(msgspec.Struct, frozen=True):
    """The folders of one home; made by `ensure`, only looked at before. May be read-only."""

    path: Path

    @property
    def markers(self) -> Path:
        return self.path / "markers"

    @property
    def manifests(self) -> Path:
        return self.path / "manifests"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def locks(self) -> Path:
        return self.path / "locks"

    @property
    def folders(self) -> tuple[Path, ...]:
        return (self.path, self.markers, self.manifests, self.runs, self.locks)

    def ensure(self) -> None:
        """Make the folders, 0700 where they are new. Raises HostError if unusable."""
        for folder in self.folders:
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                raise _not_writable(folder, error) from error
            if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
                raise _not_writable(folder, _find_refusal(folder))

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
        folder = self.runs / run_id
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise _not_writable(folder, error) from error
        return folder


def get_home(env: Mapping[str, str]) -> Home:
    """`WARMUP_CI_HOME`, else `$XDG_CACHE_HOME/warmup-ci`, else `~/.cache/warmup-ci`; absolute.

    An empty variable counts as unset, and a relative XDG_CACHE_HOME is ignored (XDG Base
    Directory Specification 0.8: "consider the path invalid").
    """
    if env.get("WARMUP_CI_HOME"):
        return Home(_expand(env["WARMUP_CI_HOME"], env))
    cache = env.get("XDG_CACHE_HOME", "")
    if not cache.startswith("/"):
        cache = "~/.cache"
    return Home(_expand(cache, env) / "warmup-ci")


def make_run_id() -> str:
    """A new name that sorts by time: `20261121T010203Z-1a2b3c`."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(3).hex()}"


def _expand(path: str, env: Mapping[str, str]) -> Path:
    if path == "~" or path.startswith("~/"):
        path = (env.get("HOME") or os.path.expanduser("~")) + path[1:]  # noqa: PTH111 - see env
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps "..", which mkdir fears


def _not_writable(folder: Path, error: OSError) -> HostError:
    return HostError(
        f"home is not writable: {folder}",
        cause=f"{error.strerror} (errno {error.errno})",
        hint=_HINT,
    )


def _find_refusal(folder: Path) -> OSError:
    """The errno that `access` swallowed, found by trying what the folder is needed for."""
    probe = folder / f".warmup-ci-{os.urandom(8).hex()}.tmp"
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        probe.unlink()
    except OSError as error:
        return error
    return PermissionError(13, "Permission denied")
