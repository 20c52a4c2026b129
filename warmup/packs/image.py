"""What a reference names: resolved, judged by the policy, and only then looked into."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from warmup.packs import oci
from warmup.packs.contents import MAX_BYTES, PATH, PackFile, PackManifest, decode_contents
from warmup.packs.mcv_reader import find_kind, read_foreign
from warmup.packs.mounted import MountedRoot
from warmup.packs.oci import Descriptor, ImageConfig, ImageManifest
from warmup.packs.policy import Signer
from warmup.packs.pull_document import NoPack
from warmup.packs.receipt import Evidence, SignatureRecorder
from warmup.packs.store import (
    PullStore,
    Readable,
    Reference,
    list_pack_tags,
    read_bounded,
    read_small,
)
from warmup.packs.trust import Trust
from warmup.packs.unpack import read_single
from warmup.words.errors import IntegrityError


@dataclass(frozen=True, kw_only=True)
class PackImage:
    """A pack that was judged. signer: None where it is used unsigned; evidence: what was read to
    tell. layers: by diff_id. others: files of a layer that are of no cache, by path."""

    digest: str
    signer: Signer | None
    evidence: Evidence
    contents: PackManifest
    layers: dict[str, Descriptor]
    others: dict[str, PackFile] = field(default_factory=dict)

    @property
    def digests(self) -> list[str]:
        return [layer.digest for layer in self.layers.values()]


def open_image(
    store: PullStore,
    reference: Reference,
    version_key: str,
    trust: Trust,
    read_layer: Callable[[Descriptor], Iterator[bytes]] | None = None,
) -> PackImage:
    """reference: without a tag, that of `version_key` is meant. read_layer: brings a layer whose
    digest is right, for an image that must be read whole to know what it holds; None: `store`.

    Raises NoPack; IntegrityError for what the policy refuses, before any layer is asked for.
    """
    if isinstance(store, MountedRoot):
        return _open_root(store, trust)
    tag = reference.tag or version_key
    found = store.read_manifest(reference.digest or tag)
    if found is None:
        raise _make_missing(store, reference, tag)
    digest, data = found
    image = oci.decode(data, ImageManifest, "manifest")
    is_image = image.media_type in (oci.MANIFEST_TYPE, oci.DOCKER_MANIFEST_TYPE)
    if not is_image or not 0 < len(image.layers) <= oci.MAX_LAYERS:
        raise IntegrityError("not a pack of warmup-ci", cause=f"{digest} is not an image of layers")
    recorder = SignatureRecorder(store)
    signer = trust.judge(recorder, digest)
    config = oci.decode(read_small(store, image.config, "config"), ImageConfig, "config")
    diff_ids = config.rootfs.diff_ids
    if len(diff_ids) != len(image.layers):
        raise IntegrityError("pack refused", cause="its config is of another image")
    kinds = {layer.media_type for layer in image.layers} - {oci.LAYER_TYPE, oci.DOCKER_LAYER_TYPE}
    if kinds:
        raise IntegrityError("not a pack of warmup-ci", cause=f"its layers are {min(kinds)!r:.200}")
    layers = dict(zip(diff_ids, image.layers, strict=True))
    others: dict[str, PackFile] = {}
    if (kind := find_kind(config)) is not None:
        if len(layers) != 1:
            raise IntegrityError("image refused", cause=f"{len(layers)} layers, where MCV has one")
        read = read_layer or functools.partial(_read_checked, store)
        contents, others = read_foreign(config, kind, read(image.layers[0]))
    else:
        chunks = read_bounded(store, layers.pop(diff_ids[0]))
        contents = decode_contents(read_single(chunks, PATH, MAX_BYTES, diff_id=diff_ids[0]))
    for name, family in contents.families.items():
        if family.diff_id not in layers:
            raise IntegrityError("pack refused", cause=f"it has no layer of {name}")
    return PackImage(
        digest=digest,
        signer=signer,
        evidence=recorder.evidence,
        contents=contents,
        layers=layers,
        others=others,
    )


def _open_root(root: MountedRoot, trust: Trust) -> PackImage:
    found = root.read_contents()
    if found is None:
        raise NoPack("what is mounted is not a pack of warmup-ci", cause=f"it has no {PATH}")
    recorder = SignatureRecorder(root)
    return PackImage(
        digest=found[0],
        signer=trust.judge(recorder, found[0]),
        evidence=recorder.evidence,
        contents=found[1],
        layers={},
    )


def _read_checked(store: Readable, blob: Descriptor) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for chunk in read_bounded(store, blob):
        digest.update(chunk)
        yield chunk
    if f"sha256:{digest.hexdigest()}" != blob.digest:
        raise IntegrityError("layer is not what its digest says", cause=f"wanted {blob.digest}")


def _make_missing(store: PullStore, reference: Reference, tag: str) -> NoPack:
    if reference.digest:
        return NoPack(f"there is no pack {reference}")
    known = list_pack_tags(store)[:8]
    what = "this version key" if tag != reference.tag else "this tag"
    return NoPack(
        f"there is no pack {tag} in {reference}",
        cause=f"nothing of {what} was pushed; there are {', '.join(known) or 'none at all'}",
        hint="one of another version vector can be pulled by its tag: its entries are a seed",
    )


def check_gpu(image: PackImage, here: Callable[[str], str | None]) -> None:
    """here: an ingredient's value on this host. Raises NoPack for another GPU's pack."""
    packed = image.contents.vector.values
    for name, what in (("compute_capability", "GPU"), ("machine", "processor")):
        was, now = packed.get(name), here(name)
        if was is not None and now is not None and was != now:
            names = f"{packed.get('gpu_name')} ({was})" if what == "GPU" else was
            raise NoPack(
                f"this pack is for another {what}",
                cause=f"it was made for {names}, here is {now}",
                hint="pull one that was pushed from a machine like this one",
            )
