"""What a pull left, so that the next one of the same pack need not look at everything again.

A receipt holds what was answered, under which version vectors, what the judge of signatures read,
and the files that no marker stands for. It counts while all of that holds: the tag still names the
pack, the signature is still one that the policy accepts, markers are fresh and files as they were
(by stat, as every check of a manifest). Else, and where there is no receipt, a pull is made whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from warmup.caches.api import decode, find_mismatch
from warmup.packs.oci import Descriptor
from warmup.packs.pull_document import PullDocument
from warmup.packs.store import Readable
from warmup.state.api import PACK_PREFIX, HostView, MarkerCheck
from warmup.words.encoding import get_digest
from warmup.words.errors import IntegrityError
from warmup.words.files import Folder

_FOLDER = "receipts"
_MAX_BYTES = 256 << 20
_MAX_RECEIPTS = 16


class Evidence(msgspec.Struct):
    """What was read of a store while a signature was looked for, by digest."""

    referrers: dict[str, list[Descriptor]] = {}
    manifests: dict[str, bytes] = {}
    blobs: dict[str, bytes] = {}


class SignatureRecorder:
    """A store whose answers are kept: `evidence`."""

    def __init__(self, store: Readable) -> None:
        self._store = store
        self.evidence = Evidence()

    def list_referrers(self, digest: str) -> list[Descriptor]:
        found = self._store.list_referrers(digest)
        self.evidence.referrers[digest] = found
        return found

    def read_manifest(self, reference: str) -> tuple[str, bytes] | None:
        found = self._store.read_manifest(reference)
        if found is not None:
            self.evidence.manifests[reference] = found[1]
        return found

    def read_blob(self, blob: Descriptor, start: int = 0) -> Iterator[bytes]:
        kept = b""
        for chunk in self._store.read_blob(blob, start):
            kept += chunk[: blob.size + 1]
            yield chunk
        self.evidence.blobs[blob.digest] = kept


class KeptSignatures:
    """The same answers again, from a receipt."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence

    def list_referrers(self, digest: str) -> list[Descriptor]:
        return self._evidence.referrers.get(digest, [])

    def read_manifest(self, reference: str) -> tuple[str, bytes] | None:
        data = self._evidence.manifests.get(reference)
        return None if data is None else (reference, data)

    def read_blob(self, blob: Descriptor, start: int = 0) -> Iterator[bytes]:
        yield self._evidence.blobs.get(blob.digest, b"")[start:]


class LaunchReceipt(msgspec.Struct, frozen=True):
    """state: of its marker's check when the pull had ended. has_pack: whether the marker is one
    that this pack's entries made, and so stands for them."""

    launch_key: str
    version_key: str
    state: str
    has_pack: bool


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """document: what the pull said. rest: a manifest (JSON) of what no marker stands for."""

    schema: int = 1
    version_key: str
    launches: list[LaunchReceipt]
    evidence: Evidence
    rest: bytes
    document: PullDocument

    def find_doubt(self, view: HostView, checks: Mapping[str, MarkerCheck]) -> str | None:
        """What has changed on this host; None where all is as it was. checks: by launch key."""
        if self.version_key != view.vector.key:
            return "another version vector"
        if [each.launch_key for each in self.launches] != [each.key for each in view.launches]:
            return "other launches"
        for launch, kept in zip(view.launches, self.launches, strict=True):
            check = checks[launch.key]
            if view.get_vector(launch).key != kept.version_key or check.state != kept.state:
                return f"{launch.name}: {check.reason}"
            if kept.has_pack and not is_of_pack(check, self.document.digest):
                return f"{launch.name}: its marker is another"
        try:
            return find_mismatch(decode(self.rest), view.env)
        except IntegrityError as error:
            return error.reason


def is_of_pack(check: MarkerCheck, digest: str) -> bool:
    return check.marker is not None and check.marker.warmed_by == f"{PACK_PREFIX}{digest}"


def find_receipt(packs: Folder, name: str, cache_root: str) -> Receipt | None:
    """packs: of the home. name: under which the pack was accepted."""
    try:
        with packs.open_folder(_FOLDER) as folder:
            data = folder.read(_get_file(name, cache_root), _MAX_BYTES)
        found = msgspec.json.decode(data, type=Receipt)
    except (OSError, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return found if found.schema == 1 else None


def write_receipt(packs: Folder, name: str, receipt: Receipt) -> None:
    with packs.open_folder(_FOLDER, create=True) as folder:
        file = _get_file(name, receipt.document.cache_root)
        folder.write_atomic(file, msgspec.json.encode(receipt))
        old = sorted(folder.list_names(), key=lambda each: folder.stat(each).st_mtime_ns)
        for each in old[:-_MAX_RECEIPTS]:
            folder.unlink(each)


def remove_receipt(packs: Folder, name: str, cache_root: str) -> None:
    try:
        with packs.open_folder(_FOLDER) as folder:
            folder.unlink(_get_file(name, cache_root))
    except FileNotFoundError:
        pass


def _get_file(name: str, cache_root: str) -> str:
    return f"{get_digest([name, cache_root])[:32]}.json"
