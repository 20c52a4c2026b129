"""Where packs are kept, behind one small protocol: a registry, an object store, a folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from warmup.packs import oci
from warmup.packs.oci import Descriptor
from warmup.packs.policy import Policy, check_registry
from warmup.words.errors import IntegrityError, UsageError

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_PATHS = ("dir", "root")
_SCHEMES = ("oci", "dir", "root", "s3", "gs", "az", "file")


class Readable(Protocol):
    """What a signature is looked for in. What fails raises WarmupError."""

    def read_blob(self, blob: Descriptor, start: int = 0) -> Iterator[bytes]:
        """Its bytes from `start` on; the caller checks size and digest."""

    def read_manifest(self, reference: str) -> tuple[str, bytes] | None:
        """Digest and bytes of the manifest with this digest or tag; None where there is none."""

    def list_referrers(self, digest: str) -> list[Descriptor]:
        """Manifests whose subject is this digest (signatures)."""


class PullStore(Readable, Protocol):
    """What a pack is pulled from."""

    def find_digest(self, tag: str) -> str | None:
        """What the store says the tag names; None where it does not say so at once. Quick, and
        to be compared alone: nothing that has this digest was looked at."""

    def list_tags(self) -> list[str]:
        """Some of them, for a message."""

    def close(self) -> None: ...


class PackStore(PullStore, Protocol):
    """Blobs by digest, manifests by digest or tag."""

    def has_blob(self, blob: Descriptor) -> bool: ...

    def write_blob(self, blob: Descriptor, open_: Callable[[], BinaryIO]) -> None: ...

    def write_manifest(self, data: bytes, media_type: str, tag: str | None) -> None:
        """tag: None where it is found by its digest alone."""

    def add_referrer(self, digest: str, referrer: Descriptor) -> None: ...


def read_small(
    store: Readable, blob: Descriptor, what: str, limit: int = oci.MAX_MANIFEST_BYTES
) -> bytes:
    """A blob of at most `limit` bytes, whole and checked. Raises IntegrityError, HostError."""
    if blob.size > limit:
        raise IntegrityError(f"{what} refused", cause=f"{blob.size} bytes are too many")
    return oci.check_digest(b"".join(read_bounded(store, blob)), blob.digest, what)


def read_bounded(store: Readable, blob: Descriptor) -> Iterator[bytes]:
    """A blob's bytes, and no more than it says to have. Raises IntegrityError."""
    size = 0
    for chunk in store.read_blob(blob):
        size += len(chunk)
        if size > blob.size:
            cause = f"more than the {blob.size} bytes that it lists came"
            raise IntegrityError(f"{blob.digest} refused", cause=cause)
        yield chunk


def list_pack_tags(store: PullStore) -> list[str]:
    """Its tags, as far as it tells, without those that stand for a digest's referrers."""
    referrers = oci.get_referrers_tag("sha256:")
    return [tag for tag in store.list_tags() if not tag.startswith(referrers)]


@dataclass(frozen=True)
class Reference:
    """`SCHEME://PLACE[:TAG][@DIGEST]`, as a user writes it. tag: "" for the version key."""

    scheme: str
    place: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        link = ":" if self.scheme in _PATHS else "://"
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.scheme}{link}{self.place}{tag}{digest}"


def parse_reference(text: str) -> Reference:
    """Raises UsageError for anything that is not the name of a pack."""
    scheme, _, rest = text.partition(":")
    rest = rest.removeprefix("//") if scheme not in _PATHS else rest
    if scheme not in _SCHEMES or not rest:
        raise UsageError(
            f"not a pack: {text[:200]!r}",
            hint="write oci://REGISTRY/REPO[:TAG], s3://BUCKET/PATH[:TAG] or dir:PATH[:TAG]",
        )
    rest, _, digest = rest.partition("@") if "@sha256:" in rest else (rest, "", "")
    if digest and not oci.is_digest(digest):
        raise UsageError(f"not a digest: {digest[:200]!r}", hint="write @sha256: and 64 hex digits")
    place, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        place, tag = rest, ""
    if tag and not _TAG.fullmatch(tag):
        raise UsageError(f"not a tag: {tag[:200]!r}", hint="letters, digits, `_`, `.` and `-`")
    repository = place.partition("/")[2]
    if scheme == "oci" and (not repository or ":" in repository or "@" in repository):
        raise UsageError(
            f"{text[:200]!r} does not name a repository", hint="write oci://REGISTRY/REPO[:TAG]"
        )
    return Reference(scheme, place, tag, digest)


def check_place(reference: Reference, policy: Policy) -> None:
    """Raises IntegrityError for a registry that the policy does not allow."""
    if reference.scheme == "oci":
        check_registry(policy, reference.place)


def open_store(reference: Reference, policy: Policy, *, create: bool = False) -> PackStore:
    """create: make a folder that is missing.

    Raises IntegrityError for a registry that the policy does not allow, HostError without the
    extra `packs`, UsageError for a root, which can only be pulled from.
    """
    check_place(reference, policy)
    if reference.scheme == "root":
        raise UsageError(f"{reference}: what is mounted can only be pulled from")
    if reference.scheme == "oci":
        from warmup.packs.registry import RegistryStore

        return RegistryStore(reference.place, policy.insecure_registries)
    from warmup.packs.layout import LayoutStore

    return LayoutStore(reference.scheme, reference.place, create=create)


def open_source(reference: Reference, policy: Policy) -> PullStore:
    """The same, of a pack that is there. Raises as `open_store`."""
    if reference.scheme != "root":
        return open_store(reference, policy)
    from warmup.packs.mounted import MountedRoot

    return MountedRoot(reference.place)
