"""`pull`: nothing where nothing has changed; else verify, fetch, unpack, place, derive markers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from warmup.launch.api import Launch
from warmup.packs.oci import Descriptor
from warmup.packs.pull_document import PullDocument
from warmup.packs.receipt import KeptSignatures, find_receipt
from warmup.packs.store import PullStore, Reference
from warmup.packs.trust import Trust, get_name, read_acceptances
from warmup.report.api import Output
from warmup.state.api import HostView, MarkerCheck, hold_launch_lock
from warmup.words.errors import HostError, IntegrityError
from warmup.words.files import Folder


@dataclass(frozen=True, kw_only=True)
class Pull:
    """view: this host. trust: with the policy. cache_root: where servers will look. check: holds a
    launch's marker against reality. err: for bars and warnings."""

    view: HostView
    store: PullStore
    source: Reference
    trust: Trust
    cache_root: Path
    check: Callable[[Launch], MarkerCheck]
    err: Output

    def execute(self) -> PullDocument:
        """Raises WarmupError; nothing is unpacked then that the policy refuses."""
        with contextlib.closing(self.store):
            document = self._find_unchanged()
            if document is None:
                self.view.home.ensure()
                lock = hold_launch_lock(
                    self.view.home,
                    "packs",
                    on_wait=lambda holder: self.err.line(f"waits for {holder}, which pulls too"),
                )
                home = self.view.home.get_folder()
                with lock, home.open_folder("packs", create=True) as packs:
                    document = self._pull(packs)
        if document.signer is None:
            self.err.line(f"warning: {self.source} is not signed by anybody that the policy names")
        return document

    def _find_unchanged(self) -> PullDocument | None:
        """What the last pull said, where all that it said holds today."""
        packs = self.view.home.find_folder("packs")
        if packs is None:
            return None
        receipt = find_receipt(packs, self._name, str(self.cache_root))
        if receipt is None:
            return None
        tag = self.source.tag or self.view.vector.key
        digest = receipt.document.digest
        if digest != (self.source.digest or self.store.find_digest(tag)):
            return None
        checks = {launch.key: self.check(launch) for launch in self.view.launches}
        if receipt.find_doubt(self.view, checks) is not None:
            return None
        try:
            signer = self._hold_against(packs).judge(KeptSignatures(receipt.evidence), digest)
        except (IntegrityError, HostError):  # the store may have another signature by now
            return None
        launches = [
            msgspec.structs.replace(told, reason=checks[launch.key].reason)
            if told.state == "warm"
            else told
            for told, launch in zip(receipt.document.launches, self.view.launches, strict=True)
        ]
        return msgspec.structs.replace(
            receipt.document, reference=str(self.source), signer=signer, launches=launches
        )

    def _pull(self, packs: Folder) -> PullDocument:
        from warmup.packs.blobs import BlobCache
        from warmup.packs.image import open_image
        from warmup.packs.materialise import Materialisation
        from warmup.packs.mounted import MountedRoot
        from warmup.packs.sources import LayerSource, RootSource

        trust, key = self._hold_against(packs), self.view.vector.key
        with packs.open_folder("blobs", create=True) as blobs:
            cache = BlobCache(blobs)

            def read_layer(layer: Descriptor) -> Iterator[bytes]:
                if not cache.has(layer):
                    cache.fetch(self.store, layer, lambda size: None)
                return cache.read(layer)

            image = open_image(self.store, self.source, key, trust, read_layer)
            materialisation = Materialisation(
                view=self.view,
                source=RootSource(self.store)
                if isinstance(self.store, MountedRoot)
                else LayerSource(self.store, cache, image, self.err),
                cache=cache,
                image=image,
                cache_root=self.cache_root,
                check=self.check,
                can_prove=trust.policy.trust_proof and image.signer is not None,
                err=self.err,
            )
            return materialisation.execute(packs, self._name, str(self.source))

    @property
    def _name(self) -> str:
        return get_name(self.source, self.view.vector.key)

    def _hold_against(self, packs: Folder) -> Trust:
        key = self.view.vector.key
        return self.trust.hold_against(read_acceptances(packs), self.source, key)
