"""Layers, configs and manifests on their way to a store: what is there is not sent again."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import msgspec

from warmup.packs import oci
from warmup.packs.archive import Member, measure_layer, write_layer
from warmup.packs.collect import Collected, CollectedFamily, open_members
from warmup.packs.contents import PATH, PackFamily, PackManifest, encode_contents
from warmup.packs.mcv import Kind, make_image
from warmup.packs.oci import ContainerConfig, Descriptor, ImageConfig, ImageManifest, RootFS
from warmup.packs.store import PackStore
from warmup.report.api import CountBar, Output
from warmup.state.api import VersionVector
from warmup.version import __version__

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class PushedFamily(msgspec.Struct, frozen=True):
    """bytes: of its layer, compressed. sent: False where the registry had it."""

    entries: int
    bytes: int
    sent: bool


@dataclass
class Sender:
    """known: diff_id → layer of the pack before this one, which need not be packed again."""

    store: PackStore
    folder: Path
    err: Output
    known: dict[str, Descriptor]
    families: dict[str, PushedFamily] = field(default_factory=dict)
    sent_bytes: int = 0

    def send(self, collected: Collected, vector: VersionVector) -> bytes:
        """Send layers and config. Returns the manifest, which is not sent."""
        layers, families = [], {}
        for name, family in collected.families.items():
            layer, diff_id = self._send_family(family)
            layers.append((layer, diff_id))
            entries = [entry for entry, _ in family.entries.values()]
            families[name] = PackFamily(family.folder, diff_id, family.roots, entries)
        contents = PackManifest(
            created=collected.created,
            tool_version=__version__,
            version_key=vector.key,
            ingredients=list(vector.ingredients),
            launches=list(collected.launches),
            families=families,
        )
        data = encode_contents(contents)
        layers.insert(0, self._send_layer([Member.of_bytes(PATH, data)]))
        labels = {
            "org.opencontainers.image.title": "JIT caches packed by warmup-ci",
            "warmup-ci.version-key": contents.version_key,
            "warmup-ci.tool-version": contents.tool_version,
            "warmup-ci.schema": str(contents.schema),
        }
        return self._send_config(labels, contents.created, layers)

    def send_mcv(
        self, kind: Kind, family: CollectedFamily, vector: VersionVector, created: str
    ) -> bytes | None:
        """An image of the Model Cache Vault; its manifest, None where that knows no such cache."""
        capability = vector.values.get("compute_capability", "")
        with CountBar(f"packing {family.name}", self.err) as bar, open_members(family) as members:
            image = make_image(kind, family.folder, members, capability, family.roots[0])
            if image is None:
                return None
            layer = self._send_layer(_count(image.members, bar))
        labels = {"org.opencontainers.image.title": f"{kind.name} cache", **image.labels}
        return self._send_config(labels, created, [layer])

    def _send_config(
        self, labels: Mapping[str, str], created: str, layers: list[tuple[Descriptor, str]]
    ) -> bytes:
        machine = os.uname().machine
        config = oci.encode(
            ImageConfig(
                created=created,
                architecture=_MACHINES.get(machine, machine),
                config=ContainerConfig(labels=dict(labels)),
                rootfs=RootFS(diff_ids=[diff_id for _, diff_id in layers]),
            )
        )
        described = oci.describe(oci.CONFIG_TYPE, config)
        if not self.store.has_blob(described):
            self.store.write_blob(described, lambda: io.BytesIO(config))
            self.sent_bytes += described.size
        return oci.encode(ImageManifest(config=described, layers=[layer for layer, _ in layers]))

    def _send_family(self, family: CollectedFamily) -> tuple[Descriptor, str]:
        before, layer, diff_id = self.sent_bytes, None, ""
        if self.known:  # a second pack under this tag: most families are as they were
            name = f"checking {family.name}"
            with CountBar(name, self.err) as bar, open_members(family) as members:
                diff_id = measure_layer(_count(members, bar))
            layer = self.known.get(diff_id)
        if layer is None or not self.store.has_blob(layer):
            with (
                CountBar(f"packing {family.name}", self.err) as bar,
                open_members(family) as members,
            ):
                layer, diff_id = self._send_layer(_count(members, bar))
        is_sent = self.sent_bytes > before
        self.families[family.name] = PushedFamily(len(family.entries), layer.size, is_sent)
        return layer, diff_id

    def _send_layer(self, members: Iterable[Member]) -> tuple[Descriptor, str]:
        path = self.folder / "layer"
        with path.open("wb") as out:
            facts = write_layer(out, members)
        layer = Descriptor(media_type=oci.LAYER_TYPE, digest=facts.digest, size=facts.size)
        if not self.store.has_blob(layer):
            self.store.write_blob(layer, lambda: path.open("rb"))
            self.sent_bytes += layer.size
        return layer, facts.diff_id


def _count(members: list[Member], bar: CountBar) -> list[Member]:
    """The same, in the order of a layer; each tells the bar when it is opened."""
    ordered = sorted(members, key=lambda each: each.path)

    def open_at(done: int, member: Member) -> BinaryIO:
        bar.advance(done, len(ordered))
        bar.tick()
        return member.open()

    return [
        replace(member, open=functools.partial(open_at, done, member))
        for done, member in enumerate(ordered, 1)
    ]
