"""`pull`: verify, fetch what is missing, unpack in private, move into place, derive markers."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from warmup.launch.api import Launch
from warmup.packs import place
from warmup.packs.blobs import BlobCache
from warmup.packs.collect import get_folder
from warmup.packs.derive import Deriver, PulledLaunch, find_packed
from warmup.packs.image import PackImage, check_gpu, open_image
from warmup.packs.place import STAGING_PREFIX, Placement
from warmup.packs.policy import Signer
from warmup.packs.store import PackStore, Reference
from warmup.packs.trust import Acceptance, Trust, get_name, read_acceptances, write_acceptance
from warmup.packs.unpack import unpack_layer
from warmup.report.api import CountBar, Output
from warmup.state.api import (
    HostView,
    MarkerCheck,
    get_facts,
    hold_launch_lock,
    list_needed,
)
from warmup.words.errors import EXIT_OK, HostError
from warmup.words.files import Folder
from warmup.words.locks import Lock, get_holder, try_lock

_LOCK = ".warmup-ci-pull.lock"
_PATIENCE_S = 3600.0
_KIB = 1 << 10


class PulledFamily(msgspec.Struct, frozen=True):
    """Entries of the pack: placed now; there already; another of that path stays, since a marker
    here needs it; tuning of another GPU, left out."""

    entries: int
    placed: int
    same: int
    differing: int
    left_out: int


class LostEntry(msgspec.Struct, frozen=True):
    """An entry that came whole and that no server here will use."""

    family: str
    path: str
    kernel: str
    reason: str


class PullDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `pull --json`. signer: null for a pack that was pulled unsigned."""

    schema: int = 1
    exit_code: int = EXIT_OK
    reference: str
    digest: str
    signer: Signer | None
    version_key: str
    cache_root: str
    launches: list[PulledLaunch]
    families: dict[str, PulledFamily]
    lost: list[LostEntry]
    fetched_bytes: int
    fetched_layers: int


@dataclass(kw_only=True)
class Pull:
    """view: this host. trust: with the policy. cache_root: where servers will look. check: holds a
    launch's marker against reality. err: for bars and warnings."""

    view: HostView
    store: PackStore
    source: Reference
    trust: Trust
    cache_root: Path
    check: Callable[[Launch], MarkerCheck]
    err: Output
    fetched_bytes: int = 0
    fetched_layers: int = 0
    _placements: dict[str, Placement] = field(default_factory=dict)

    def execute(self) -> PullDocument:
        """Raises WarmupError; nothing is unpacked then that the policy refuses."""
        self.view.home.ensure()
        lock = hold_launch_lock(self.view.home, "packs", on_wait=self._tell_waiting)
        with contextlib.closing(self.store), lock:
            home = self.view.home.get_folder()
            with home.open_folder("packs", create=True) as folder:
                return self._execute(folder)

    def _execute(self, folder: Folder) -> PullDocument:
        name = get_name(self.source, self.view.vector.key)
        known = read_acceptances(folder)
        last = known.packs.get(name)
        trust = self.trust.hold_against(known, self.source, self.view.vector.key)
        image = open_image(self.store, self.source, self.view.vector.key, trust)
        if image.signer is None:
            self.err.line(f"warning: {self.source} is not signed by anybody that the policy names")
        values = {each.name: each.value for each in self.view.vector.ingredients}
        check_gpu(image, values.get)
        signed = image.signer.created if image.signer else (last.signed if last else "")
        accepted = Acceptance(image.digest, signed, image.digests)
        known = write_acceptance(folder, name, accepted)
        with folder.open_folder("blobs", create=True) as blobs:
            cache = BlobCache(blobs)
            with _told_disk(self.cache_root), self._lock_root() as root:
                self._place(image, cache, root)
                launches = self._derive(image)
            cache.keep({digest for each in known.packs.values() for digest in each.blobs})
        return self._make_document(image, launches)

    def _place(self, image: PackImage, cache: BlobCache, root: Folder) -> None:
        gpu = {each.name: each.value for each in image.contents.ingredients}.get("gpu_name")
        here = {each.name: each.value for each in self.view.vector.ingredients}.get("gpu_name")
        needed = list_needed(self.view)
        for name, family in image.contents.families.items():
            to = self.cache_root / get_folder(name)
            entries = place.get_needed(needed, name, to)
            self._placements[name] = place.plan(name, family, to, entries, is_other_gpu=gpu != here)
        wanted = [each for each in self._placements.values() if each.missing]
        self._fetch(image, cache, wanted)
        _remove_staging(root)
        staging_name = f"{STAGING_PREFIX}{os.urandom(8).hex()}"
        try:
            for each in wanted:
                layer = image.layers[each.family.diff_id]
                with root.open_folder(staging_name, create=True) as staging:
                    unpack_layer(
                        cache.read(layer), each.files, staging, diff_id=each.family.diff_id
                    )
                    place.move(each, staging)
                root.remove(staging_name)
        finally:
            root.remove(staging_name)
        facts = get_facts(self.view.env, self.view.vector)
        for each in self._placements.values():
            place.find_losses(each, facts)

    def _fetch(self, image: PackImage, cache: BlobCache, wanted: list[Placement]) -> None:
        layers = [image.layers[each.family.diff_id] for each in wanted]
        missing = [layer for layer in layers if not cache.has(layer)]
        total, done = sum(layer.size for layer in missing), 0
        with CountBar("fetching KiB", self.err) as bar:

            def tell(size: int) -> None:
                nonlocal done
                done += size
                bar.advance(done // _KIB, total // _KIB)
                bar.tick()

            for layer in missing:
                cache.fetch(self.store, layer, tell)
                self.fetched_layers += 1
                self.fetched_bytes += layer.size

    def _derive(self, image: PackImage) -> list[PulledLaunch]:
        deriver = Deriver(
            view=self.view,
            digest=image.digest,
            placements=self._placements,
            can_prove=self.trust.policy.trust_proof and image.signer is not None,
        )
        found = []
        for launch in self.view.launches:
            check = self.check(launch)
            if check.is_warm:
                found.append(
                    PulledLaunch(
                        model=launch.label,
                        tp=launch.tp,
                        state="warm",
                        reason=check.reason,
                        marker=str(check.path),
                    )
                )
            else:
                packed = find_packed(launch, image.contents.launches)
                found.append(deriver.derive(launch, packed))
        return found

    def _make_document(self, image: PackImage, launches: list[PulledLaunch]) -> PullDocument:
        lost = [
            LostEntry(each.name, entry.path, entry.kernel, each.lost[entry.path])
            for each in self._placements.values()
            for entry in each.family.entries
            if entry.path in each.lost
        ]
        return PullDocument(
            reference=str(self.source),
            digest=image.digest,
            signer=image.signer,
            version_key=image.contents.version_key,
            cache_root=str(self.cache_root),
            launches=launches,
            families={name: _count(each) for name, each in self._placements.items()},
            lost=lost,
            fetched_bytes=self.fetched_bytes,
            fetched_layers=self.fetched_layers,
        )

    @contextlib.contextmanager
    def _lock_root(self) -> Iterator[Folder]:
        """Two homes may share a cache root: what another pull has staged there is not swept."""
        with Folder.open(self.cache_root, create=True) as root:
            lock: Lock | None = try_lock(root, _LOCK)
            if lock is None:
                self._tell_waiting(get_holder(root, _LOCK))
                lock = try_lock(root, _LOCK, patience_s=_PATIENCE_S)
            if lock is None:
                raise HostError(f"another pull has held {self.cache_root} for an hour")
            with lock:
                lock.sign()
                yield root

    def _tell_waiting(self, holder: str) -> None:
        self.err.line(f"waits for {holder}, which pulls too")


def _count(found: Placement) -> PulledFamily:
    return PulledFamily(
        entries=len(found.family.entries),
        placed=len(found.placed),
        same=len(found.same),
        differing=len(found.differing),
        left_out=len(found.left_out),
    )


def _remove_staging(root: Folder) -> None:
    """What a killed pull left; nobody else pulls into this root now."""
    for name in root.list_names():
        if name.startswith(STAGING_PREFIX):
            root.remove(name)


@contextlib.contextmanager
def _told_disk(cache_root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise HostError(
            f"cannot unpack into {cache_root}",
            cause=f"{error.strerror or error}: {error.filename or cache_root}",
            hint="free some disk (`warmup-ci gc`), then pull again: it goes on where it was"
            if is_full
            else None,
        ) from error
