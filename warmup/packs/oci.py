"""The parts of the OCI image format that a pack is made of, and that are read back as hostile.

OCI image-spec 1.1: manifest.md, config.md, image-index.md, image-layout.md. A pack is a *plain*
image, with the standard config and layer types: skopeo refuses an unknown config type, while an
image can be read by `COPY --from`, Kubernetes image volumes, skopeo, podman and umoci alike.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, TypeVar

import msgspec

from warmup.words import encoding
from warmup.words.errors import IntegrityError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY = b"{}"
# Docker's own names for the same: image manifest version 2, schema 2.
DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"

MAX_MANIFEST_BYTES = 4 << 20  # what registries accept (distribution-spec 1.1, "Pushing manifests")
MAX_LAYERS = 64

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
Digest = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A blob by media type, digest and size in bytes."""

    media_type: str
    digest: Digest
    size: Size
    annotations: dict[str, str] = {}
    artifact_type: str = ""


class ImageManifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An image, or with `artifact_type` and `subject` what refers to one (a signature)."""

    schema_version: int = 2
    media_type: str = MANIFEST_TYPE
    artifact_type: str = ""
    config: Descriptor
    layers: list[Descriptor]
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}


class RootFS(msgspec.Struct, frozen=True, kw_only=True):
    """diff_ids: digests of the layers before compression, in their order."""

    type: str = "layers"
    diff_ids: list[Digest] = []


class ContainerConfig(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    labels: dict[str, str] | None = {}


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """created: RFC 3339. architecture, os: of the machine that compiled."""

    created: str = ""
    architecture: str = "amd64"
    os: str = "linux"
    config: ContainerConfig | None = ContainerConfig()
    rootfs: RootFS = RootFS()

    @property
    def labels(self) -> dict[str, str]:
        return (self.config.labels if self.config else None) or {}


class Index(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An image index: of a layout (`index.json`), or the referrers of one manifest."""

    schema_version: int = 2
    media_type: str = INDEX_TYPE
    manifests: list[Descriptor] = []


class TagList(msgspec.Struct, frozen=True):
    """distribution-spec 1.1, "Listing Tags"."""

    tags: list[str] | None = None


def get_digest(data: bytes) -> str:
    """`sha256:<64 hex digits>`"""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def describe(
    media_type: str,
    data: bytes,
    *,
    artifact_type: str = "",
    annotations: dict[str, str] | None = None,
) -> Descriptor:
    return Descriptor(
        media_type=media_type,
        digest=get_digest(data),
        size=len(data),
        artifact_type=artifact_type,
        annotations=annotations or {},
    )


def encode(value: msgspec.Struct) -> bytes:
    """Canonical JSON: equal data, equal digest. What is empty is left out, as the specification has
    it; what it requires (`schemaVersion`, `architecture`) is never empty."""
    data = msgspec.to_builtins(value)
    return encoding.encode(
        {name: item for name, item in data.items() if item not in (None, "", {})}
    )


_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def decode(data: bytes, kind: type[_Struct], what: str) -> _Struct:
    """Raises IntegrityError for what is too large or not of that form. what: for the message."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise IntegrityError(f"{what} refused", cause=f"{len(data)} bytes are too many")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{what} is not what a pack holds", cause=str(error)) from None


def check_digest(data: bytes, digest: str, what: str) -> bytes:
    """The data itself. Raises IntegrityError where it is not what the digest says."""
    if get_digest(data) != digest:
        raise IntegrityError(
            f"{what} is not what its digest says",
            cause=f"wanted {digest}, got {get_digest(data)}",
            hint="the registry or what lies between serves other bytes; do not trust it",
        )
    return data


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def get_referrers_tag(digest: str) -> str:
    """Where referrers are listed by registries without the API (distribution-spec 1.1,
    "Referrers Tag Schema")."""
    return digest.replace(":", "-", 1)
