"""The manifests of a home: which cache entries each warm-up left, and which of them
only warm-ups under other version vectors made."""

from __future__ import annotations

import errno
from hashlib import sha256
from pathlib import Path

from warmup.caches.api import MAX_BYTES, Manifest, decode
from warmup.state.home import Home
from warmup.state.marker import Marker
from warmup.state.marker_files import list_markers, write_marker
from warmup.words.errors import HostError, IntegrityError
from warmup.words.escape import to_line

# Missing, a link, not a regular file, too large: what it lists is nobody's.
_NO_FILE = (errno.ENOENT, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EFBIG)


def read_manifest(home: Home, name: str, digest: str | None = None) -> Manifest:
    """A manifest by its file's name. digest: the sha256 that its bytes must have, None for any.

    Raises IntegrityError, also where it is missing or not a regular file; HostError for a home that
    is not safe to use.
    """
    try:
        folder = home.find_folder("manifests")
        if folder is None:
            raise FileNotFoundError(2, "No such file or directory")
        data = folder.read(name, MAX_BYTES)
    except OSError as error:
        raise IntegrityError(
            "manifest unreadable", cause=f"{to_line(str(home.manifests / name))}: {error.strerror}"
        ) from error
    if digest is not None and sha256(data).hexdigest() != digest:
        raise IntegrityError("manifest refused", cause="its marker was written with another")
    return decode(data)


def find_manifest(home: Home, name: str) -> Manifest | None:
    """None where it is missing or broken (`audit` tells of it). Raises HostError where it cannot be
    told, since the file could not be read."""
    try:
        return read_manifest(home, name)
    except IntegrityError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno not in _NO_FILE:
            raise HostError(error.what, cause=error.cause) from error
        return None


def has_manifest(home: Home, name: str) -> bool:
    folder = home.find_folder("manifests")
    try:
        return folder is not None and bool(folder.stat(name))
    except OSError:
        return False


def list_manifests(home: Home) -> list[str]:
    """Names of all files `*.json` in `manifests/`."""
    folder = home.find_folder("manifests")
    names = [] if folder is None else folder.list_names()
    return [name for name in names if name.endswith(".json")]


def write_warmed(home: Home, marker: Marker, manifest: bytes) -> Path:
    """Manifest first, marker last: a crash between the two leaves the launch cold, never a lie.

    manifest: the bytes that the marker was made with. Returns the marker's path. Raises OSError,
    HostError.
    """
    home.get_folder("manifests").write_atomic(marker.manifest, manifest)
    return write_marker(home, marker)


def find_stale_entries(home: Home, version_key: str) -> dict[str, frozenset[str]]:
    """Family → entries that a warm-up under another key added and none under this key lists.

    What `manifest.make_manifest` may leave out if the new warm-up does not read it: listed
    there, the rubbish of every earlier version would be needed for ever.
    """
    made: dict[str, set[str]] = {}
    kept: dict[str, set[str]] = {}
    for marker in list_markers(home):
        if not isinstance(marker, Marker):
            continue
        is_present = marker.version_key == version_key
        try:
            manifest = read_manifest(home, marker.manifest)
        except IntegrityError:
            continue  # `audit` tells of it; here it means that nothing is known to be stale
        for family, roots in manifest.families.items():
            chosen = (kept if is_present else made).setdefault(family, set())
            for root in roots:
                chosen.update(one.path for one in root.entries if is_present or one.added)
    return {
        family: frozenset(entries - kept.get(family, set())) for family, entries in made.items()
    }
