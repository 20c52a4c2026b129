"""A pack that is mounted: the file system of its image, as Kubernetes' image volumes and
`COPY --from` give it. Read only, and never linked to.

Nothing that is mounted says of which image it is, so no signature can be held against it: whoever
pulls from it takes the mount's word (`--allow-unsigned`). Each file must have the sha256 that the
mounted manifest lists.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from warmup.packs import oci
from warmup.packs.contents import MAX_BYTES, PATH, PackFile, PackManifest, decode_contents
from warmup.packs.oci import Descriptor
from warmup.packs.writer import FileWriter
from warmup.words.errors import HostError, IntegrityError
from warmup.words.escape import from_text
from warmup.words.files import Folder, open_regular, read_regular
from warmup.words.tree import Tree


class MountedRoot:
    """place: where it is mounted. Raises HostError where that is no folder."""

    def __init__(self, place: str) -> None:
        self.path = Path(place).expanduser().absolute()
        if not self.path.is_dir():
            raise HostError(f"there is no folder {self.path}")

    def read_contents(self) -> tuple[str, PackManifest] | None:
        """Digest of its manifest, and what it lists; None where there is none.

        Raises IntegrityError, HostError.
        """
        found = self._find_manifest()
        return None if found is None else (oci.get_digest(found), decode_contents(found))

    def copy(self, files: Mapping[str, PackFile], into: Folder) -> None:
        """files: by path below the root. Raises IntegrityError for what is not as listed, OSError
        where it cannot be written."""
        with Tree(self.path) as tree, FileWriter(into, "pack") as writer:
            for path, wanted in sorted(files.items()):
                try:
                    dir_fd, name = tree.locate(from_text(path))
                    fd = open_regular(name, dir_fd=dir_fd)
                except OSError as error:
                    cause = f"{path!r}: {error.strerror}"
                    raise IntegrityError("pack refused", cause=cause) from error
                with os.fdopen(fd, "rb", buffering=0) as source:
                    if os.fstat(fd).st_size != wanted.size:
                        raise IntegrityError("pack refused", cause=f"{path!r} has another size")
                    writer.write(path, wanted, source, can_clone=True)

    def find_digest(self, tag: str) -> str | None:
        found = self._find_manifest()
        return None if found is None else oci.get_digest(found)

    def list_referrers(self, digest: str) -> list[Descriptor]:
        return []

    def list_tags(self) -> list[str]:
        return []

    def read_manifest(self, reference: str) -> tuple[str, bytes] | None:
        return None

    def read_blob(self, blob: Descriptor, start: int = 0) -> Iterator[bytes]:
        yield from ()

    def close(self) -> None:
        """Nothing stays open."""

    def _find_manifest(self) -> bytes | None:
        try:
            with Tree(self.path) as tree:
                dir_fd, name = tree.locate(PATH)
                return read_regular(name, MAX_BYTES, dir_fd=dir_fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise HostError(f"cannot read {self.path / PATH}", cause=str(error)) from error
