"""Packs in a folder or an object store: an OCI image layout (image-spec 1.1, image-layout.md).

`skopeo copy oci:PATH:TAG …` and umoci read the same folder. Object stores are obstore's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from warmup.packs import oci
from warmup.packs.oci import Descriptor, Index
from warmup.words.errors import HostError, WarmupError
from warmup.words.files import Folder
from warmup.words.locks import try_lock

_REF_NAME = "org.opencontainers.image.ref.name"
_CHUNK = 1 << 20
_PATIENCE_S = 60.0
_ATTEMPTS = 8
_RETRY_S = 60  # of one request to an object store


class LayoutStore:
    """scheme: `dir`, or an object store's. place: its path, or bucket and prefix.

    create: whether a folder that is missing is made; HostError where it is not.
    """

    def __init__(self, scheme: str, place: str, *, create: bool) -> None:
        try:
            import obstore
            from obstore.store import LocalStore, from_url
        except ImportError as error:
            raise HostError(
                "packs need the extra `packs`", hint="pip install 'warmup-ci[packs]'"
            ) from error
        self._obstore = obstore
        self._place = f"{scheme}:{place}"
        self._folder = Path(place).expanduser() if scheme in ("dir", "file") else None
        self._store: Any
        try:
            if self._folder is not None:
                self._folder = Path(self._folder.absolute())
                if not create and not self._folder.is_dir():
                    raise FileNotFoundError(f"there is no folder {self._folder}")
                self._store = LocalStore(prefix=self._folder, mkdir=True)
            else:
                limits: Any = {"retry_timeout": timedelta(seconds=_RETRY_S)}
                self._store = from_url(f"{scheme}://{place}", retry_config=limits)
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise HostError(
                f"cannot open {self._place}", cause=str(error).split("\n")[0]
            ) from error

    def has_blob(self, blob: Descriptor) -> bool:
        return self._find_size(_get_path(blob.digest)) == blob.size

    def read_blob(self, blob: Descriptor, start: int = 0) -> Iterator[bytes]:
        with self._told(f"read {blob.digest}"):
            if start >= blob.size:
                return
            options: Any = {"range": (start, blob.size)}
            try:
                result = self._obstore.get(self._store, _get_path(blob.digest), options=options)
            except FileNotFoundError:
                raise HostError(f"{self._place} lacks the blob {blob.digest}") from None
            for chunk in result.stream(min_chunk_size=_CHUNK):
                yield bytes(chunk)

    def write_blob(self, blob: Descriptor, open_: Callable[[], BinaryIO]) -> None:
        with self._told(f"write {blob.digest}"), open_() as file:
            self._obstore.put(self._store, _get_path(blob.digest), file)

    def find_digest(self, tag: str) -> str | None:
        return self._find_tagged(tag)

    def read_manifest(self, reference: str) -> tuple[str, bytes] | None:
        digest = reference if oci.is_digest(reference) else self._find_tagged(reference)
        if digest is None:
            return None
        data = self._find_bytes(_get_path(digest))
        return None if data is None else (digest, oci.check_digest(data, digest, "manifest"))

    def write_manifest(self, data: bytes, media_type: str, tag: str | None) -> None:
        described = oci.describe(media_type, data)
        with self._told("write a manifest"):
            self._obstore.put(self._store, _get_path(described.digest), data)
            self._obstore.put(self._store, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        if tag is not None:
            self._list_as(described, tag)

    def list_tags(self) -> list[str]:
        named = (each.annotations.get(_REF_NAME) for each in self._read_index()[0].manifests)
        return sorted(filter(None, named))

    def list_referrers(self, digest: str) -> list[Descriptor]:
        found = self.read_manifest(oci.get_referrers_tag(digest))
        return [] if found is None else oci.decode(found[1], Index, "referrers").manifests

    def add_referrer(self, digest: str, referrer: Descriptor) -> None:
        others = [each for each in self.list_referrers(digest) if each.digest != referrer.digest]
        index = oci.encode(Index(manifests=[*others, referrer]))
        self.write_manifest(index, oci.INDEX_TYPE, oci.get_referrers_tag(digest))

    def close(self) -> None:
        """Nothing stays open."""

    def _find_tagged(self, tag: str) -> str | None:
        for each in self._read_index()[0].manifests:
            if each.annotations.get(_REF_NAME) == tag:
                return each.digest
        return None

    def _read_index(self) -> tuple[Index, str | None]:
        """The index, and its version for a conditional write."""
        with self._told("read index.json"):
            try:
                result = self._obstore.get(self._store, "index.json")
            except FileNotFoundError:
                return Index(), None
            if result.meta["size"] > oci.MAX_MANIFEST_BYTES:
                raise HostError(f"cannot read {self._place}", cause="index.json is too large")
            return oci.decode(bytes(result.bytes()), Index, "index"), result.meta.get("e_tag")

    def _list_as(self, described: Descriptor, tag: str) -> None:
        """Move the tag: under a lock in a folder, by a conditional write in an object store."""
        named = msgspec.structs.replace(described, annotations={_REF_NAME: tag})
        for _ in range(_ATTEMPTS):
            with self._locked():
                index, version = self._read_index()
                others = [e for e in index.manifests if e.annotations.get(_REF_NAME) != tag]
                data = oci.encode(msgspec.structs.replace(index, manifests=[*others, named]))
                mode: Any = "overwrite"
                if self._folder is None:
                    mode = "create" if version is None else {"e_tag": version}
                try:
                    with self._told("write index.json"):
                        self._obstore.put(self._store, "index.json", data, mode=mode)
                    return
                except _Raced:
                    continue
        raise HostError(f"cannot move a tag in {self._place}", cause="others write it all the time")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self._folder is None:
            yield
            return
        with Folder.open(self._folder, create=True) as folder:
            lock = try_lock(folder, ".warmup-ci.lock", patience_s=_PATIENCE_S)
        if lock is None:
            raise HostError(f"another process has been writing {self._place} for a long time")
        with lock:
            yield

    def _find_size(self, path: str) -> int | None:
        with self._told(f"look at {path}"):
            try:
                return int(self._obstore.head(self._store, path)["size"])
            except FileNotFoundError:
                return None

    def _find_bytes(self, path: str) -> bytes | None:
        size = self._find_size(path)
        if size is None:
            return None
        if size > oci.MAX_MANIFEST_BYTES:
            raise HostError(f"cannot read {self._place}", cause=f"{path} is too large")
        with self._told(f"read {path}"):
            return bytes(self._obstore.get(self._store, path).bytes())

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        exceptions = self._obstore.exceptions
        try:
            yield
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
            raise _Raced(str(error)) from error
        except FileNotFoundError:
            raise
        except (exceptions.BaseError, OSError) as error:
            cause = str(error).split("\n")[0]
            raise HostError(f"{self._place}: cannot {what}", cause=cause) from error


class _Raced(WarmupError):
    """Another writer was faster: read again, and try again."""


def _get_path(digest: str) -> str:
    kind, _, name = digest.partition(":")
    return f"blobs/{kind}/{name}"
