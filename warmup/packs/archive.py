"""Writing layers: the same content gives the same tar, whoever packs it.

Sorted names, root's ids, modes 0644 and 0755, whole seconds. gzip of one zlib version is
deterministic too; another may compress otherwise, so layers are told apart by their digest before
compression (`diff_id`).
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, BinaryIO

from warmup.words.errors import IntegrityError

_LEVEL = 6


@dataclass(frozen=True)
class Member:
    """A file to pack. path: in the tar. open: its bytes, `size` of them."""

    path: str
    size: int
    mtime_s: int
    executable: bool
    open: Callable[[], BinaryIO]

    @classmethod
    def of_bytes(cls, path: str, data: bytes) -> Member:
        return cls(path, len(data), 0, False, lambda: io.BytesIO(data))


@dataclass(frozen=True)
class LayerFacts:
    """size, digest: of the compressed layer. diff_id: digest before compression."""

    size: int
    digest: str
    diff_id: str


class _Tee(io.RawIOBase):
    """Writes to a stream, and counts and hashes what goes by."""

    def __init__(self, to: IO[bytes] | gzip.GzipFile | io.RawIOBase) -> None:
        self._to = to
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def writable(self) -> bool:
        return True

    def tell(self) -> int:  # tarfile counts from where it begins
        return self.size

    def write(self, data: object) -> int:
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        self._hash.update(view)
        self.size += len(view)
        self._to.write(view)
        return len(view)


def write_layer(out: IO[bytes], members: Iterable[Member]) -> LayerFacts:
    """Write one layer. Raises IntegrityError for a file that is not of its size any more."""
    outer = _Tee(out)
    with gzip.GzipFile(
        filename="", mode="wb", compresslevel=_LEVEL, fileobj=outer, mtime=0
    ) as zipped:
        inner = _Tee(zipped)
        _write_tar(inner, members)
    return LayerFacts(outer.size, outer.digest, inner.digest)


def measure_layer(members: Iterable[Member]) -> str:
    """The `diff_id` that `write_layer` would give, without the cost of compressing."""
    inner = _Tee(_Nowhere())
    _write_tar(inner, members)
    return inner.digest


class _Nowhere(io.RawIOBase):
    def write(self, data: object) -> int:
        return len(memoryview(data))  # type: ignore[arg-type]


def _write_tar(out: _Tee, members: Iterable[Member]) -> None:
    with tarfile.TarFile(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        folders: set[str] = set()
        for member in sorted(members, key=lambda each: each.path):
            _add_folders(archive, member.path, folders)
            _add_file(archive, member)


def _add_folders(archive: tarfile.TarFile, path: str, done: set[str]) -> None:
    parts = path.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        folder = "/".join(parts[:depth])
        if folder not in done:
            done.add(folder)
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)


def _add_file(archive: tarfile.TarFile, member: Member) -> None:
    info = tarfile.TarInfo(member.path)
    info.size, info.mtime = member.size, member.mtime_s
    info.mode = 0o755 if member.executable else 0o644
    with member.open() as file:
        try:
            archive.addfile(info, file)
        except OSError as error:  # shorter than its header says
            raise IntegrityError(f"{member.path} changed while it was packed") from error
        if file.read(1):
            raise IntegrityError(f"{member.path} changed while it was packed")
