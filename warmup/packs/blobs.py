"""Layers that were fetched: in the home, whole and checked, so that the next pull needs only new
ones. What a cut connection left is gone on with."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterator

from warmup.packs import oci
from warmup.packs.oci import Descriptor
from warmup.packs.store import Readable
from warmup.state.api import Home, hold_launch_lock
from warmup.words.errors import HostError, IntegrityError, WarmupError
from warmup.words.files import Folder

_CHUNK = 1 << 20
_ATTEMPTS = 5  # in a row that bring next to nothing
_PROGRESS = 1 << 16
_PAUSE_S = 0.5
_PART = ".part"


class BlobCache:
    """folder: `packs/blobs` of a home; nobody else may write in it. For one process at a time.

    num_fetched, fetched_bytes: what was brought.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder, self.path = folder, folder.path
        self.num_fetched = self.fetched_bytes = 0

    def has(self, blob: Descriptor) -> bool:
        """Whether it lies here whole; its bytes are hashed again."""
        name = _get_name(blob)
        try:
            is_whole = self._folder.stat(name).st_size == blob.size
            if is_whole and f"sha256:{self._hash(name).hexdigest()}" == blob.digest:
                return True
            self._folder.unlink(name)
        except FileNotFoundError:
            pass
        return False

    def read(self, blob: Descriptor) -> Iterator[bytes]:
        with os.fdopen(self._folder.open_file(_get_name(blob)), "rb", buffering=0) as file:
            while data := file.read(_CHUNK):
                yield data

    def fetch(self, store: Readable, blob: Descriptor, tell: Callable[[int], None]) -> None:
        """Bring it here. tell: how many bytes came. Raises IntegrityError for other bytes than its
        digest's, HostError where the store fails again and again, or drips."""
        part = _get_name(blob) + _PART
        resumed = self._get_size(part)
        if resumed > blob.size:
            self._folder.unlink(part)
            resumed = 0
        tell(resumed)
        digest = self._hash(part) if resumed else hashlib.sha256()
        self._fetch_rest(store, blob, part, digest, tell)
        if f"sha256:{digest.hexdigest()}" != blob.digest:
            self._folder.unlink(part)
            if resumed:  # what a crash left of it was not what had come
                tell(-blob.size)
                return self.fetch(store, blob, tell)
            raise IntegrityError(
                "layer refused: it is not what its digest says",
                cause=f"wanted {blob.digest}",
                hint="the registry or what lies between serves other bytes; do not trust it",
            )
        self._folder.rename(part, _get_name(blob))
        self.num_fetched += 1
        self.fetched_bytes += blob.size
        return None

    def _fetch_rest(
        self,
        store: Readable,
        blob: Descriptor,
        part: str,
        digest: hashlib._Hash,
        tell: Callable[[int], None],
    ) -> None:
        failures = 0
        while (size := self._get_size(part)) < blob.size:
            problem = HostError(
                f"{blob.digest} was cut off", cause=f"{size} of {blob.size} bytes came"
            )
            try:
                self._append(store, blob, part, size, digest, tell)
            except HostError as error:
                problem = error
            got = self._get_size(part)
            failures = 0 if got - size >= _PROGRESS else failures + 1
            if failures >= _ATTEMPTS:
                raise problem
            if got < blob.size:
                time.sleep(_PAUSE_S * 2**failures if failures else 0)

    def _append(
        self,
        store: Readable,
        blob: Descriptor,
        part: str,
        size: int,
        digest: hashlib._Hash,
        tell: Callable[[int], None],
    ) -> None:
        with contextlib.suppress(FileExistsError):
            os.close(self._folder.create_file(part))
        with os.fdopen(self._folder.open_file(part, append=True), "wb") as out:
            for chunk in store.read_blob(blob, size):
                size += len(chunk)
                if size > blob.size:
                    raise IntegrityError(
                        "layer refused", cause=f"more than the {blob.size} bytes that it lists came"
                    )
                out.write(chunk)
                digest.update(chunk)
                tell(len(chunk))

    def keep(self, digests: Collection[str]) -> None:
        """Remove all but these."""
        kept = {digest.partition(":")[2] for digest in digests}
        for name in self._folder.list_names():
            if name not in kept:
                with contextlib.suppress(FileNotFoundError):
                    self._folder.unlink(name)

    def _get_size(self, name: str) -> int:
        try:
            return self._folder.stat(name).st_size
        except FileNotFoundError:
            return 0

    def _hash(self, name: str) -> hashlib._Hash:
        digest = hashlib.sha256()
        with os.fdopen(self._folder.open_file(name), "rb", buffering=0) as file:
            while data := file.read(_CHUNK):
                digest.update(data)
        return digest


def collect_parts(home: Home, *, dry_run: bool) -> list[str]:
    """Remove what pulls that ended half-way left; none while one is at work. Returns paths."""
    found = home.find_folder()
    if found is None:
        return []
    try:
        with found.open_folder("packs") as packs, packs.open_folder("blobs") as folder:
            parts = [name for name in folder.list_names() if name.endswith(_PART)]
            if parts and not dry_run:
                with hold_launch_lock(home, "packs", deadline=0.0):
                    for name in parts:
                        folder.unlink(name)
            return [str(folder.path / name) for name in parts]
    except (FileNotFoundError, WarmupError):
        return []


def _get_name(blob: Descriptor) -> str:
    assert oci.is_digest(blob.digest)
    return blob.digest.partition(":")[2]
