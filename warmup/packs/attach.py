"""What is attached to an image: a manifest of its own whose `subject` the image is.

OCI image-spec 1.1, "Guidelines for Artifact Usage": the form in which cosign and `actions/attest`
keep signatures, and in which ours are kept.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass, field

from warmup.packs import oci
from warmup.packs.oci import Descriptor, ImageManifest
from warmup.packs.store import PackStore, Readable
from warmup.words.errors import IntegrityError

_MAX_PARTS = 4


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A signature that is to be attached. parts: media type → bytes."""

    artifact_type: str
    parts: Mapping[str, bytes]
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StoredSignature:
    """A signature as a store keeps it: read back as hostile. parts: by media type."""

    artifact_type: str
    parts: Mapping[str, Descriptor]


def attach(store: PackStore, image: Descriptor, attachment: Attachment) -> None:
    layers = []
    for media_type, data in [(oci.EMPTY_TYPE, oci.EMPTY), *attachment.parts.items()]:
        described = oci.describe(media_type, data)
        if not store.has_blob(described):
            store.write_blob(described, functools.partial(io.BytesIO, data))
        layers.append(described)
    annotations = dict(attachment.annotations)
    manifest = oci.encode(
        ImageManifest(
            artifact_type=attachment.artifact_type,
            config=layers[0],
            layers=layers[1:],
            subject=image,
            annotations=annotations,
        )
    )
    store.write_manifest(manifest, oci.MANIFEST_TYPE, None)
    referrer = oci.describe(
        oci.MANIFEST_TYPE,
        manifest,
        artifact_type=attachment.artifact_type,
        annotations=annotations,
    )
    store.add_referrer(image.digest, referrer)


def read_signature(store: Readable, referrer: Descriptor) -> StoredSignature:
    """Raises IntegrityError where it is not there, or not of that form."""
    found = store.read_manifest(referrer.digest)
    if found is None:
        raise IntegrityError("signature refused", cause=f"{referrer.digest} is not there")
    manifest = oci.decode(found[1], ImageManifest, "signature")
    parts = {layer.media_type: layer for layer in manifest.layers[:_MAX_PARTS]}
    return StoredSignature(artifact_type=manifest.artifact_type, parts=parts)
