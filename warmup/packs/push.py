"""`push`: one layer per family, sent where it is not there already, a manifest, a signature."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from warmup.launch.api import Launch
from warmup.packs import oci
from warmup.packs.attach import attach
from warmup.packs.collect import Collected, collect
from warmup.packs.mcv import KINDS
from warmup.packs.merge import OpenPack, merge
from warmup.packs.oci import Descriptor, ImageConfig, ImageManifest
from warmup.packs.sender import PushedFamily, Sender
from warmup.packs.sign import Signing
from warmup.packs.store import PackStore, Reference, read_small
from warmup.report.api import Output
from warmup.state.api import Home, MarkerCheck, VersionVector, hold_launch_lock
from warmup.words.errors import EXIT_FAILED, EXIT_OK, HostError, IntegrityError, WarmupError

_SCRATCH = ".push-"


class PushDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `push --json`. left_out: launches that are not warm, with the reason.

    reference: with the digest, as `pull` takes it. mcv: kind → reference of an image of the Model
    Cache Vault.
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
    mcv: dict[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class Push:
    """to: where. sign: None for an unsigned pack. mcv: whether to send images of the Model Cache
    Vault too. err: for the bar."""

    home: Home
    vector: VersionVector
    store: PackStore
    to: Reference
    sign: Signing | None
    err: Output
    mcv: bool = False

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
        collected = collect(self.home, warm)
        names = [launch.name for launch, _ in warm]
        return self._send(lambda _: (collected, left_out), names)

    def execute_merged(self, packs: Sequence[OpenPack]) -> PushDocument:
        """Send what these packs hold together, as one. vector: theirs. Raises WarmupError."""
        return self._send(lambda folder: merge(packs, folder / "merged"), None)

    def _send(
        self,
        gather: Callable[[Path], tuple[Collected, dict[str, str]]],
        names: list[str] | None,
    ) -> PushDocument:
        """gather: given a private folder, what is sent, and which launches are left out, and why.
        names: of the launches; None for those of the pack."""
        tag = self.to.tag or self.vector.key
        self.home.ensure()
        try:
            with (
                contextlib.closing(self.store),
                hold_launch_lock(self.home, "packs"),
                _open_scratch(self.home) as folder,
            ):
                collected, left_out = gather(folder)
                sender = Sender(self.store, folder, self.err, _find_layers(self.store, tag))
                image = self._publish(sender.send(collected, self.vector), tag)
                mcv = self._send_mcv(sender, collected, tag) if self.mcv else {}
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
            launches=names or [launch.name for launch in collected.launches],
            left_out=left_out,
            families=sender.families,
            sent_bytes=sender.sent_bytes,
            mcv=mcv,
        )

    def _publish(self, data: bytes, tag: str) -> Descriptor:
        """Sign a manifest, and move the tag to it: in this order, so that no reader finds it
        unsigned."""
        image = oci.describe(oci.MANIFEST_TYPE, data)
        if self.sign is not None:
            self.store.write_manifest(data, oci.MANIFEST_TYPE, None)
            attach(self.store, image, self.sign.sign(image, self.vector.key))
        self.store.write_manifest(data, oci.MANIFEST_TYPE, tag)
        return image

    def _send_mcv(self, sender: Sender, collected: Collected, tag: str) -> dict[str, str]:
        sent = {}
        for kind in KINDS:
            if (family := collected.families.get(kind.name)) is not None:
                data = sender.send_mcv(kind, family, self.vector, collected.created)
                if data is not None:
                    name = f"{tag}-mcv-{kind.name}"
                    image = self._publish(data, name)
                    sent[kind.name] = str(replace(self.to, tag=name, digest=image.digest))
        return sent


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
