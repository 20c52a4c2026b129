"""Layers: the same content gives the same tar, whoever packs it, and nothing else is unpacked.

Writing: sorted names, root's ids, modes 0644 and 0755, whole seconds. gzip of one zlib version is
deterministic too; another may compress otherwise, so layers are told apart by their digest before
compression (`diff_id`). Reading: only the regular files and folders that the pack's manifest
lists, each of its size and sha256; all else is refused before a byte of it is written.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, BinaryIO

from warmup.packs.contents import PackFile
from warmup.words.errors import IntegrityError
from warmup.words.escape import from_text
from warmup.words.files import Folder

_BLOCK = 1 << 20
_LEVEL = 6
_MAX_HEADER = 64 << 10  # of a long name; a larger one would be read into memory whole


@dataclass(frozen=True)
class Member:
    """A file to pack. path: in the tar. open: its bytes, `size` of them."""

    path: str
    size: int
    mtime_s: int
    executable: bool
    open: Callable[[], BinaryIO]


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


class _StrictInfo(tarfile.TarInfo):
    """Looks at each header before tarfile acts on it: types, and sizes that would fill memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictInfo:
        info = super().frombuf(buf, encoding, errors)
        if info.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            if info.size > _MAX_HEADER:
                raise IntegrityError("layer refused", cause="a name in it is too long")
        elif info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
            kind = _KINDS.get(info.type, f"an entry of type {info.type!r}")
            raise IntegrityError("layer refused", cause=f"it holds {kind}: {info.name!r:.200}")
        return info


_KINDS = {
    tarfile.LNKTYPE: "a hard link",
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a FIFO",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    tarfile.XGLTYPE: "a global header",
}


class _Gunzip(io.RawIOBase):
    """Decompressed bytes of `chunks`, at most `limit` of them; `diff_id` once it is at its end."""

    def __init__(self, chunks: Iterator[bytes], limit: int) -> None:
        self._chunks = chunks
        self._limit = limit
        self._zip = zlib.decompressobj(wbits=31)
        self._ready = b""
        self._hash = hashlib.sha256()
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        while not self._ready:
            data = self._zip.unconsumed_tail or next(self._chunks, b"")
            if not data:
                if not self._zip.eof:
                    raise IntegrityError("layer refused", cause="it ends in the middle")
                return 0
            if self._zip.eof:
                raise IntegrityError("layer refused", cause="something follows its end")
            try:
                self._ready = self._zip.decompress(data, _BLOCK)
            except zlib.error as error:
                raise IntegrityError("layer refused", cause=f"not gzip: {error}") from None
            if self._zip.unused_data:
                raise IntegrityError("layer refused", cause="something follows its end")
        part, self._ready = self._ready[: len(view)], self._ready[len(view) :]
        view[: len(part)] = part
        self._hash.update(part)
        self._size += len(part)
        if self._size > self._limit:
            raise IntegrityError(
                "layer refused", cause=f"it unpacks to more than the {self._limit} bytes it lists"
            )
        return len(part)

    def finish(self) -> str:
        while self.read(_BLOCK):
            pass
        return f"sha256:{self._hash.hexdigest()}"


def get_limit(files: Iterable[PackFile]) -> int:
    """Bytes that a tar of these files may have: contents, headers, long names, padding."""
    return (1 << 20) + sum(file.size + 4 * _MAX_HEADER // 16 + 4096 for file in files)


def unpack_layer(
    chunks: Iterator[bytes], files: Mapping[str, PackFile], into: Folder, *, diff_id: str | None
) -> None:
    """Write the files of one layer below `into`, which is private and empty of them.

    chunks: the compressed layer. files: path in the tar → what it must be; each must be there.
    Raises IntegrityError for all else, OSError where the disk is full.
    """
    stream = _Gunzip(chunks, get_limit(files.values()))
    missing = dict(files)
    folders = {
        path.rsplit("/", depth)[0] for path in files for depth in range(1, path.count("/") + 1)
    }
    try:
        with tarfile.open(
            fileobj=io.BufferedReader(stream, _BLOCK), mode="r|", tarinfo=_StrictInfo
        ) as archive:
            for info in archive:
                if info.isdir():
                    _check_folder(info.name, folders)
                else:
                    _unpack_one(archive, info, missing, files, into)
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise IntegrityError("layer refused", cause=f"not a tar: {error}") from None
    if missing:
        first = next(iter(missing))
        raise IntegrityError("layer refused", cause=f"{first!r} is listed and not in it")
    got = stream.finish()
    if diff_id is not None and got != diff_id:
        raise IntegrityError("layer refused", cause=f"its contents are {got}, not {diff_id}")


def _check_folder(name: str, folders: set[str]) -> None:
    path = name.removeprefix("./").rstrip("/")
    if path not in ("", ".") and path not in folders:
        raise IntegrityError("layer refused", cause=f"folder {path!r:.200} is not listed")


def _unpack_one(
    archive: tarfile.TarFile,
    info: tarfile.TarInfo,
    missing: dict[str, PackFile],
    files: Mapping[str, PackFile],
    into: Folder,
) -> None:
    path = info.name.removeprefix("./")
    wanted = missing.pop(path, None)
    if wanted is None:
        why = "is in it twice" if path in files else "is not listed"
        raise IntegrityError("layer refused", cause=f"{path!r:.200} {why}")
    if info.size != wanted.size:
        raise IntegrityError(
            "layer refused", cause=f"{path!r} has {info.size} bytes, not {wanted.size}"
        )
    source = archive.extractfile(info)
    assert source is not None
    _write_file(source, wanted, path, into)


def _write_file(source: IO[bytes], wanted: PackFile, path: str, into: Folder) -> None:
    *folders, name = from_text(path).split("/")
    folder = Folder(os.dup(into.fd), into.path)
    for part in folders:
        with folder:
            folder = folder.open_folder(part, create=True)
    with folder:
        digest = hashlib.sha256()
        fd = folder.create_file(name, mode=0o700 if wanted.executable else 0o600)
        with os.fdopen(fd, "wb") as out:
            while data := source.read(_BLOCK):
                digest.update(data)
                out.write(data)
            out.flush()
            os.utime(fd, ns=(wanted.mtime_ns, wanted.mtime_ns))
    if digest.hexdigest() != wanted.sha256:
        raise IntegrityError("layer refused", cause=f"{path!r} is not what its sha256 says")
