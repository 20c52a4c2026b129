"""What a pull does once the pack is judged: fetch, unpack in private, move, derive markers."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from warmup.caches.api import Manifest, RootRecord, encode, get_family
from warmup.launch.api import Launch
from warmup.packs import place
from warmup.packs.blobs import BlobCache
from warmup.packs.collect import get_folder
from warmup.packs.contents import PackFamily
from warmup.packs.derive import Deriver, find_packed, record_entry
from warmup.packs.image import PackImage, check_gpu
from warmup.packs.place import STAGING_PREFIX, Placement
from warmup.packs.pull_document import LostEntry, PullDocument, PulledFamily, PulledLaunch
from warmup.packs.receipt import (
    LaunchReceipt,
    Receipt,
    is_of_pack,
    remove_receipt,
    write_receipt,
)
from warmup.packs.sources import FileSource
from warmup.packs.trust import Acceptance, read_acceptances, write_acceptance
from warmup.report.api import Output
from warmup.state.api import HostView, MarkerCheck, get_facts, list_needed
from warmup.words.errors import HostError, IntegrityError
from warmup.words.escape import to_text
from warmup.words.files import Folder
from warmup.words.locks import Lock, get_holder, try_lock
from warmup.words.tree import Tree

_LOCK = ".warmup-ci-pull.lock"
_PATIENCE_S = 3600.0


@dataclass(kw_only=True)
class Materialisation:
    """image: as it was judged. The rest is `Pull`'s. can_prove: whether its signer's proof counts
    here."""

    view: HostView
    source: FileSource
    cache: BlobCache
    image: PackImage
    cache_root: Path
    check: Callable[[Launch], MarkerCheck]
    can_prove: bool
    err: Output
    _placements: dict[str, Placement] = field(default_factory=dict)
    _launches: list[tuple[PulledLaunch, LaunchReceipt]] = field(default_factory=list)

    def execute(self, packs: Folder, name: str, reference: str) -> PullDocument:
        """packs: of the home, locked. name: under which the pack is accepted."""
        check_gpu(self.image, self.view.vector.values.get)
        last = read_acceptances(packs).packs.get(name)
        signer = self.image.signer
        signed = signer.created if signer else (last.signed if last else "")
        accepted = Acceptance(self.image.digest, signed, self.image.digests)
        known = write_acceptance(packs, name, accepted)
        remove_receipt(packs, name, str(self.cache_root))
        with _told_disk(self.cache_root), self._lock_root() as root:
            self._place(root)
            self._derive()
        self.cache.keep({digest for each in known.packs.values() for digest in each.blobs})
        document = self._make_document(reference)
        with contextlib.suppress(IntegrityError):  # what lies here is another: look again then
            if (receipt := self._find_receipt(document)) is not None:
                write_receipt(packs, name, receipt)
        return document

    def _place(self, root: Folder) -> None:
        gpu = self.image.contents.vector.values.get("gpu_name")
        here = self.view.vector.values.get("gpu_name")
        needed = list_needed(self.view)
        for name, family in self.image.contents.families.items():
            to = self.cache_root / get_folder(name)
            entries = needed.get((name, to_text(str(to))), set())
            shared = self._find_shared(name, family)
            self._placements[name] = shared or place.plan(
                name, family, to, entries, is_other_gpu=gpu != here
            )
        wanted = [each for each in self._placements.values() if each.missing]
        with _told_disk(self.cache.path, "keep layers"):
            self.source.fetch(wanted)
        for name in root.list_names():  # what a killed pull left; nobody else pulls here now
            if name.startswith(STAGING_PREFIX):
                root.remove(name)
        staging_name = f"{STAGING_PREFIX}{os.urandom(8).hex()}"
        try:
            for each in wanted:
                with root.open_folder(staging_name, create=True) as staging:
                    self.source.unpack(each, staging)
                    place.move(each, staging)
                root.remove(staging_name)
        finally:
            root.remove(staging_name)
        facts = get_facts(self.view)
        for each in self._placements.values():
            place.find_losses(each, facts)

    def _find_shared(self, name: str, family: PackFamily) -> Placement | None:
        """A family that every server reads where it is mounted: DeepGEMM's list of roots, of which
        it writes the first (sgl-deep-gemm 0.2.0 and later, whose entries are `.committed`)."""
        root = self.source.find_root(name)
        files = {file.path for each in family.entries for file in each.files}
        if root is None or not all(f"{each.path}/.committed" in files for each in family.entries):
            return None
        for launch in self.view.launches:
            if root not in get_family(name).get_roots(self.view.get_env(launch))[1:]:
                return None
        found = place.plan(name, family, root, (), is_other_gpu=False)
        found.is_shared = True
        return found if self.view.launches and not found.missing else None

    def _derive(self) -> None:
        deriver = Deriver(
            view=self.view,
            digest=self.image.digest,
            placements=self._placements,
            can_prove=self.can_prove,
            is_foreign=not self.image.contents.launches,
        )
        for launch in self.view.launches:
            check = self.check(launch)
            state: str = check.state
            has_pack = is_of_pack(check, self.image.digest)
            if check.is_warm:
                found = PulledLaunch(
                    model=launch.label,
                    tp=launch.tp,
                    state="warm",
                    reason=check.reason,
                    marker=str(check.path),
                )
            else:
                packed = find_packed(launch, self.image.contents.launches)
                found = deriver.derive(launch, packed)
                if found.marker is not None:
                    state, has_pack = "fresh" if found.state == "warm" else "seeded", True
            key = self.view.get_vector(launch).key
            self._launches.append((found, LaunchReceipt(launch.key, key, state, has_pack)))

    def _make_document(self, reference: str) -> PullDocument:
        lost = [
            LostEntry(each.name, entry.path, entry.kernel, each.lost[entry.path])
            for each in self._placements.values()
            for entry in each.family.entries
            if entry.path in each.lost
        ]
        families = {
            name: PulledFamily(
                entries=len(found.family.entries),
                placed=len(found.placed),
                same=len(found.same),
                differing=len(found.differing),
                left_out=len(found.left_out),
            )
            for name, found in self._placements.items()
        }
        return PullDocument(
            reference=reference,
            digest=self.image.digest,
            signer=self.image.signer,
            version_key=self.image.contents.version_key,
            cache_root=str(self.cache_root),
            launches=[launch for launch, _ in self._launches],
            families=families,
            lost=lost,
            fetched_bytes=self.cache.fetched_bytes,
            fetched_layers=self.cache.num_fetched,
        )

    def _find_receipt(self, document: PullDocument) -> Receipt | None:
        """None where something of the pack does not lie here: the next pull tries again."""
        covered, families = self._list_covered(), {}
        for name, found in self._placements.items():
            roots = get_family(name).get_roots(self.view.env)
            if found.differing or len(found.placed) < len(found.missing) or roots[0] != found.root:
                return None
            held = covered.get(name, set())
            here = [each for each in (*found.same, *found.missing) if each.path not in held]
            records = []
            if here:
                with Tree(found.root) as tree:
                    records = [record_entry(tree, found, entry) for entry in here]
            families[name] = [
                RootRecord(to_text(str(root)), records if index == 0 else [])
                for index, root in enumerate(roots)
            ]
        next_time = {
            name: msgspec.structs.replace(each, placed=0, same=each.same + each.placed)
            for name, each in document.families.items()
        }
        return Receipt(
            version_key=self.view.vector.key,
            launches=[kept for _, kept in self._launches],
            evidence=self.image.evidence,
            rest=encode(Manifest(families)),
            document=msgspec.structs.replace(
                document, families=next_time, fetched_bytes=0, fetched_layers=0
            ),
        )

    def _list_covered(self) -> dict[str, set[str]]:
        """Family → entries that a marker of this pack stands for."""
        covered: dict[str, set[str]] = {}
        for launch, (_, kept) in zip(self.view.launches, self._launches, strict=True):
            packed = find_packed(launch, self.image.contents.launches)
            for name, paths in (packed.entries if packed and kept.has_pack else {}).items():
                covered.setdefault(name, set()).update(paths)
        return covered

    @contextlib.contextmanager
    def _lock_root(self) -> Iterator[Folder]:
        """Two homes may share a cache root: what another pull has staged there is not swept."""
        with Folder.open(self.cache_root, create=True) as root:
            lock: Lock | None = try_lock(root, _LOCK)
            if lock is None:
                self.err.line(f"waits for {get_holder(root, _LOCK)}, which pulls too")
                lock = try_lock(root, _LOCK, patience_s=_PATIENCE_S)
            if lock is None:
                raise HostError(f"another pull has held {self.cache_root} for an hour")
            with lock:
                lock.sign()
                yield root


@contextlib.contextmanager
def _told_disk(folder: Path, what: str = "unpack") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise HostError(
            f"cannot {what} in {folder}",
            cause=f"{error.strerror or error}: {error.filename or folder}",
            hint="free some disk (`warmup-ci gc`), then pull again: it goes on where it was"
            if is_full
            else None,
        ) from error
