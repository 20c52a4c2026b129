"""Where the files of a judged pack come from: its layers, or a root that is mounted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from warmup.packs.blobs import BlobCache
from warmup.packs.collect import get_folder
from warmup.packs.image import PackImage
from warmup.packs.mounted import MountedRoot
from warmup.packs.place import Placement
from warmup.packs.store import PullStore
from warmup.packs.unpack import unpack_layer
from warmup.report.api import CountBar, Output
from warmup.words.files import Folder

_KIB = 1 << 10


class FileSource(Protocol):
    def find_root(self, name: str) -> Path | None:
        """Where a family lies already, for servers that read several roots."""

    def fetch(self, wanted: list[Placement]) -> None:
        """Bring what is needed for them onto this machine. Raises IntegrityError, HostError."""

    def unpack(self, found: Placement, into: Folder) -> None:
        """Write a family's files below a private folder. Raises IntegrityError, OSError."""


@dataclass(frozen=True)
class LayerSource:
    store: PullStore
    cache: BlobCache
    image: PackImage
    err: Output

    def find_root(self, name: str) -> None:
        """It lies in a layer."""

    def fetch(self, wanted: list[Placement]) -> None:
        layers = [self.image.layers[each.family.diff_id] for each in wanted]
        missing = [layer for layer in layers if not self.cache.has(layer)]
        total, done = sum(layer.size for layer in missing), 0
        with CountBar("fetching KiB", self.err) as bar:

            def tell(size: int) -> None:
                nonlocal done
                done += size
                bar.advance(-(-done // _KIB), -(-total // _KIB))  # a small layer is not nothing
                bar.tick()

            for layer in missing:
                self.cache.fetch(self.store, layer, tell)

    def unpack(self, found: Placement, into: Folder) -> None:
        diff_id = found.family.diff_id
        chunks = self.cache.read(self.image.layers[diff_id])
        unpack_layer(chunks, found.files | self.image.others, into, diff_id=diff_id)


@dataclass(frozen=True)
class RootSource:
    root: MountedRoot

    def find_root(self, name: str) -> Path:
        return self.root.path / get_folder(name)

    def fetch(self, wanted: list[Placement]) -> None:
        """It is all here."""

    def unpack(self, found: Placement, into: Folder) -> None:
        self.root.copy(found.files, into)
