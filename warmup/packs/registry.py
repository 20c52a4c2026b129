"""Packs in an OCI registry (distribution-spec 1.1): GHCR, ECR, Harbor, a registry on loopback.

A pull must go on where it was cut, and nothing larger than a block is held in memory.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO
from urllib.parse import urlencode, urljoin, urlsplit

from warmup.packs import oci
from warmup.packs.client import RegistryClient
from warmup.packs.oci import Descriptor, Index, TagList
from warmup.words.errors import HostError, IntegrityError

_TYPES = (oci.MANIFEST_TYPE, oci.INDEX_TYPE, oci.DOCKER_MANIFEST_TYPE)
_ACCEPT = {"Accept": ", ".join(_TYPES)}
_ATTEMPTS = 5  # to send a blob
_PAUSE_S = 0.5


class RegistryStore:
    """place: `HOST[:PORT]/REPOSITORY`. insecure: places that are spoken to in plain HTTP."""

    def __init__(self, place: str, insecure: tuple[str, ...]) -> None:
        self._client = RegistryClient(place, insecure)
        self._ask = self._client.ask
        self.close = self._client.close

    def has_blob(self, blob: Descriptor) -> bool:
        response = self._ask("HEAD", f"/blobs/{blob.digest}", ok=(200, 404))
        return response.status_code == 200

    def read_blob(self, blob: Descriptor, start: int = 0) -> Iterator[bytes]:
        if start >= blob.size:
            return
        headers = {"Range": f"bytes={start}-"} if start else {}
        response = self._ask(
            "GET", f"/blobs/{blob.digest}", headers=headers, stream=True, ok=(200, 206)
        )
        skip = start if response.status_code == 200 else 0  # it does not know Range
        with contextlib.closing(response):
            for chunk in self._client.iterate(response, blob.digest):
                if skip >= len(chunk):
                    skip -= len(chunk)
                    continue
                yield chunk[skip:]
                skip = 0

    def write_blob(self, blob: Descriptor, open_: Callable[[], BinaryIO]) -> None:
        """In one PUT behind a POST; from the start again where it is cut."""
        base = f"{self._client.base}/"
        for attempt in range(_ATTEMPTS):
            begun = self._ask("POST", "/blobs/uploads/", ok=(202,))
            url = urljoin(base, begun.headers.get("Location", ""))
            if urlsplit(url).hostname != urlsplit(base).hostname:
                raise IntegrityError(f"{self._client.host} sends uploads elsewhere", cause=url)
            url += ("&" if "?" in url else "?") + urlencode({"digest": blob.digest})
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(blob.size),
            }
            try:
                with open_() as file:
                    self._ask("PUT", url, headers=headers, data=file, ok=(201,), retry=False)
                return
            except HostError:
                if self.has_blob(blob):
                    return
                if attempt + 1 == _ATTEMPTS:
                    raise
            time.sleep(_PAUSE_S * 2**attempt)

    def find_digest(self, tag: str) -> str | None:
        found = self._client.glance(f"/manifests/{tag}", _ACCEPT)
        digest = found.get("Docker-Content-Digest", "")
        return digest if oci.is_digest(digest) else None

    def read_manifest(self, reference: str) -> tuple[str, bytes] | None:
        response = self._ask(
            "GET", f"/manifests/{reference}", headers=_ACCEPT, stream=True, ok=(200, 404)
        )
        with contextlib.closing(response):
            if response.status_code == 404:
                return None
            data = self._client.read_small(response, f"manifest {reference}")
        digest = reference if oci.is_digest(reference) else oci.get_digest(data)
        return digest, oci.check_digest(data, digest, "manifest")

    def write_manifest(self, data: bytes, media_type: str, tag: str | None) -> None:
        name = tag or oci.get_digest(data)
        headers = {"Content-Type": media_type}
        self._ask("PUT", f"/manifests/{name}", headers=headers, data=data, ok=(201,))

    def list_tags(self) -> list[str]:
        response = self._ask("GET", "/tags/list?n=100", stream=True, ok=(200, 404))
        with contextlib.closing(response):
            if response.status_code == 404:
                return []
            return oci.decode(self._client.read_small(response, "tags"), TagList, "tags").tags or []

    def list_referrers(self, digest: str) -> list[Descriptor]:
        """By the API where the registry has it, else by the tag that stands for it."""
        response = self._ask("GET", f"/referrers/{digest}", stream=True, ok=(200, 404, 400, 405))
        with contextlib.closing(response):
            if response.status_code == 200:
                data = self._client.read_small(response, "referrers")
                return oci.decode(data, Index, "referrers").manifests
        return self._list_tagged_referrers(digest)

    def add_referrer(self, digest: str, referrer: Descriptor) -> None:
        """Registries with the API list it by its `subject`; the others need the tag."""
        if any(each.digest == referrer.digest for each in self.list_referrers(digest)):
            return
        others = self._list_tagged_referrers(digest)
        index = oci.encode(Index(manifests=[*others, referrer]))
        self.write_manifest(index, oci.INDEX_TYPE, oci.get_referrers_tag(digest))

    def _list_tagged_referrers(self, digest: str) -> list[Descriptor]:
        found = self.read_manifest(oci.get_referrers_tag(digest))
        return [] if found is None else oci.decode(found[1], Index, "referrers").manifests
