"""`push`: one layer per family, sent where it is not there already, a manifest, a signature."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import msgspec

from warmup.launch.api import Launch
from warmup.packs import oci
from warmup.packs.archive import Member, measure_layer, write_layer
from warmup.packs.attach import attach
from warmup.packs.collect import Collected, CollectedFamily, collect, open_members
from warmup.packs.contents import PATH, PackFamily, PackManifest, encode_contents
from warmup.packs.oci import ContainerConfig, Descriptor, ImageConfig, ImageManifest, RootFS
from warmup.packs.sign import Signing
from warmup.packs.store import PackStore, Reference, read_small
from warmup.report.api import CountBar, Output
from warmup.state.api import Home, MarkerCheck, VersionVector, hold_launch_lock
from warmup.version import __version__
from warmup.words.errors import EXIT_FAILED, EXIT_OK, HostError, IntegrityError, WarmupError

_SCRATCH = ".push-"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class PushedFamily(msgspec.Struct, frozen=True):
    """bytes: of its layer, compressed. sent: False where the registry had it."""

    entries: int
    bytes: int
    sent: bool


class PushDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `push --json`. left_out: launches that are not warm, with the reason.

    reference: with the digest, as `pull` takes it.
    """

    schema: int = 1
    exit_code: int
    reference: str
    digest: str
    tag: str
    version_key: str
    signed: bool
    launches: list[str]
    left_out: dict[str, str]
    families: dict[str, PushedFamily]
    sent_bytes: int


@dataclass(frozen=True, kw_only=True)
class Push:
    """to: where. sign: None for an unsigned pack. err: for the bar."""

    home: Home
    vector: VersionVector
    store: PackStore
    to: Reference
    sign: Signing | None
    err: Output

    def execute(self, checks: Sequence[tuple[Launch, MarkerCheck]]) -> PushDocument:
        """Pack what the fresh ones of these launches need; the others are left out, and named.

        Raises WarmupError: nothing is warm, an entry has changed, the store fails.
        """
        warm = [(each, check.marker) for each, check in checks if check.is_warm and check.marker]
        left_out = {launch.name: check.reason for launch, check in checks if not check.is_warm}
        if not warm:
            raise WarmupError(
                "nothing to push: no model named is warm here",
                cause="; ".join(f"{name}: {reason}" for name, reason in left_out.items()) or None,
                hint="`warmup-ci run` warms them",
            )
        self.vector.require_read("a pack must say for which versions it is")
        tag = self.to.tag or self.vector.key
        collected = collect(self.home, warm)
        self.home.ensure()
        try:
            with (
                contextlib.closing(self.store),
                hold_launch_lock(self.home, "packs"),
                _open_scratch(self.home) as folder,
            ):
                sender = _Sender(self.store, folder, self.err, _find_layers(self.store, tag))
                data = sender.send(collected, self.vector)
                image = oci.describe(oci.MANIFEST_TYPE, data)
                if self.sign is not None:  # before a reader can find it by its tag
                    self.store.write_manifest(data, oci.MANIFEST_TYPE, None)
                    attach(self.store, image, self.sign.sign(image, self.vector.key))
                self.store.write_manifest(data, oci.MANIFEST_TYPE, tag)
        except OSError as error:
            cause = f"{error.strerror or error}: {error.filename or self.home.path}"
            raise HostError("cannot pack the caches", cause=cause) from error
        return PushDocument(
            exit_code=EXIT_FAILED if left_out else EXIT_OK,
            reference=str(replace(self.to, tag="", digest=image.digest)),
            digest=image.digest,
            tag=tag,
            version_key=self.vector.key,
            signed=self.sign is not None,
            launches=[launch.name for launch, _ in warm],
            left_out=left_out,
            families=sender.families,
            sent_bytes=sender.sent_bytes,
        )


@contextlib.contextmanager
def _open_scratch(home: Home) -> Iterator[Path]:
    """A folder in the home for layers on their way; what a killed push left goes first."""
    folder = home.get_folder()
    for name in folder.list_names():
        if name.startswith(_SCRATCH):
            folder.remove(name)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=home.path) as scratch:
        yield Path(scratch)


def _find_layers(store: PackStore, tag: str) -> dict[str, Descriptor]:
    """diff_id → layer of what has this tag now; {} where nothing has it, or nothing of ours."""
    try:
        found = store.read_manifest(tag)
        if found is None:
            return {}
        image = oci.decode(found[1], ImageManifest, "manifest")
        config = oci.decode(read_small(store, image.config, "config"), ImageConfig, "config")
    except IntegrityError:  # another image, which is about to be replaced
        return {}
    return dict(zip(config.rootfs.diff_ids, image.layers, strict=False))


@dataclass
class _Sender:
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
        first = Member(PATH, len(data), 0, False, lambda: io.BytesIO(data))
        layers.insert(0, self._send_layer([first]))
        config = _make_config(contents, [diff_id for _, diff_id in layers])
        described = oci.describe(oci.CONFIG_TYPE, config)
        self._send_blob(described, config)
        return oci.encode(ImageManifest(config=described, layers=[layer for layer, _ in layers]))

    def _send_family(self, family: CollectedFamily) -> tuple[Descriptor, str]:
        before = self.sent_bytes
        with CountBar(f"checking {family.name}", self.err) as bar, open_members(family) as members:
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

    def _send_blob(self, described: Descriptor, data: bytes) -> None:
        if not self.store.has_blob(described):
            self.store.write_blob(described, lambda: io.BytesIO(data))
            self.sent_bytes += described.size


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


def _make_config(contents: PackManifest, diff_ids: list[str]) -> bytes:
    labels = {
        "org.opencontainers.image.title": "JIT caches packed by warmup-ci",
        "warmup-ci.version-key": contents.version_key,
        "warmup-ci.tool-version": contents.tool_version,
        "warmup-ci.schema": str(contents.schema),
    }
    machine = os.uname().machine
    config = ImageConfig(
        created=contents.created,
        architecture=_MACHINES.get(machine, machine),
        config=ContainerConfig(labels=labels),
        rootfs=RootFS(diff_ids=diff_ids),
    )
    return oci.encode(config)
