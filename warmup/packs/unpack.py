"""Reading layers: only the regular files and folders that the pack's manifest lists, each of its
size and sha256; all else is refused before a byte of it is written."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import IO

from warmup.packs.contents import PackFile
from warmup.words.errors import IntegrityError
from warmup.words.escape import from_text
from warmup.words.files import Folder

_BLOCK = 1 << 20
_MAX_HEADER = 64 << 10  # of a long name; a larger one would be read into memory whole


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


def read_single(chunks: Iterator[bytes], path: str, limit: int, *, diff_id: str) -> bytes:
    """The one file of a layer, of at most `limit` bytes. Raises IntegrityError for all else."""
    stream, data = _Gunzip(chunks, limit + _BLOCK), b""
    try:
        with tarfile.open(
            fileobj=io.BufferedReader(stream, _BLOCK), mode="r|", tarinfo=_StrictInfo
        ) as archive:
            for info in archive:
                name = info.name.removeprefix("./").rstrip("/")
                if info.isdir() and f"{path}/".startswith(f"{name}/"):
                    continue
                if name != path or data or info.size > limit:
                    raise IntegrityError("not a pack of warmup-ci", cause=f"it holds {name!r:.200}")
                source = archive.extractfile(info)
                assert source is not None
                data = source.read()
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise IntegrityError("layer refused", cause=f"not a tar: {error}") from None
    if stream.finish() != diff_id or not data:
        raise IntegrityError("not a pack of warmup-ci", cause=f"it has no {path}")
    return data


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
