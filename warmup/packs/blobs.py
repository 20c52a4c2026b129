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
from warmup.packs.store import PackStore
from warmup.words.errors import HostError, IntegrityError
from warmup.words.files import Folder

_CHUNK = 1 << 20
_ATTEMPTS = 5  # in a row that bring nothing
_PAUSE_S = 0.5
_PART = ".part"


class BlobCache:
    """folder: `packs/blobs` of a home; nobody else may write in it. For one process at a time."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def has(self, blob: Descriptor) -> bool:
        """Whether it lies here whole; its bytes are hashed again."""
        name = _get_name(blob)
        try:
            if self._folder.stat(name).st_size == blob.size and self._hash(name) == blob.digest:
                return True
            self._folder.unlink(name)
        except FileNotFoundError:
            pass
        return False

    def read(self, blob: Descriptor) -> Iterator[bytes]:
        with os.fdopen(self._folder.open_file(_get_name(blob)), "rb", buffering=0) as file:
            while data := file.read(_CHUNK):
                yield data

    def fetch(self, store: PackStore, blob: Descriptor, tell: Callable[[int], None]) -> None:
        """Bring it here. tell: how many bytes came. Raises IntegrityError for other bytes than its
        digest's, HostError where the store fails again and again."""
        part = _get_name(blob) + _PART
        resumed = self._get_size(part)
        if resumed > blob.size:
            self._folder.unlink(part)
            resumed = 0
        tell(resumed)
        self._fetch_rest(store, blob, part, tell)
        if self._hash(part) != blob.digest:
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
        return None

    def _fetch_rest(
        self, store: PackStore, blob: Descriptor, part: str, tell: Callable[[int], None]
    ) -> None:
        failures = 0
        while (size := self._get_size(part)) < blob.size:
            problem = HostError(
                f"{blob.digest} was cut off", cause=f"{size} of {blob.size} bytes came"
            )
            try:
                self._append(store, blob, part, size, tell)
            except HostError as error:
                problem = error
            got = self._get_size(part)
            failures = 0 if got > size else failures + 1
            if failures >= _ATTEMPTS:
                raise problem
            if got < blob.size:
                time.sleep(_PAUSE_S * 2**failures if failures else 0)

    def _append(
        self, store: PackStore, blob: Descriptor, part: str, size: int, tell: Callable[[int], None]
    ) -> None:
        with contextlib.suppress(FileExistsError):
            os.close(self._folder.create_file(part))
        with os.fdopen(self._folder.open_file(part, append=True), "wb", buffering=0) as out:
            for chunk in store.read_blob(blob, size):
                size += len(chunk)
                if size > blob.size:
                    raise IntegrityError(
                        "layer refused", cause=f"more than the {blob.size} bytes that it lists came"
                    )
                out.write(chunk)
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

    def _hash(self, name: str) -> str:
        digest = hashlib.sha256()
        with os.fdopen(self._folder.open_file(name), "rb", buffering=0) as file:
            while data := file.read(_CHUNK):
                digest.update(data)
        return f"sha256:{digest.hexdigest()}"


def _get_name(blob: Descriptor) -> str:
    assert oci.is_digest(blob.digest)
    return blob.digest.partition(":")[2]
