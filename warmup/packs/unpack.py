"""Reading layers: only the regular files and folders that the pack's manifest lists, each of its
size and sha256; all else is refused before a byte of it is written."""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
import zlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from warmup.packs.contents import MAX_FILES, PackFile, find_name_problem
from warmup.packs.writer import FileWriter
from warmup.words.errors import IntegrityError
from warmup.words.escape import to_text
from warmup.words.files import Folder

_BLOCK = 1 << 20
_READ = 1 << 15  # tarfile copies what it has read ahead at every small read
_MAX_HEADER = 64 << 10  # of a long name; a larger one would be read into memory whole


class _StrictInfo(tarfile.TarInfo):
    """Looks at each header before tarfile acts on it: types, and sizes that would fill memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictInfo:
        info = super().frombuf(buf, encoding, errors)
        if info.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
            if info.size > _MAX_HEADER:
                raise _refuse("a name in it is too long")
        elif info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
            kind = _KINDS.get(info.type, f"an entry of type {info.type!r}")
            raise _refuse(f"it holds {kind}: {info.name!r:.200}")
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


class _Layer(io.RawIOBase):
    """Decompressed bytes of `chunks`, at most `limit` of them; a thread decompresses the next block
    while this one is used."""

    def __init__(self, chunks: Iterator[bytes], limit: int) -> None:
        self._blocks = _read_ahead(_gunzip(chunks))
        self._limit = limit
        self._ready = memoryview(b"")
        self._hash = hashlib.sha256()
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        if not self._ready:
            block = next(self._blocks, b"")
            self._hash.update(block)
            self._size += len(block)
            if self._size > self._limit:
                raise _refuse(f"it unpacks to more than the {self._limit} bytes it lists")
            self._ready = memoryview(block)
        part, self._ready = self._ready[: len(view)], self._ready[len(view) :]
        view[: len(part)] = part
        return len(part)

    def finish(self) -> str:
        """The digest of all of it."""
        while self.read(_BLOCK):
            pass
        return f"sha256:{self._hash.hexdigest()}"

    def close(self) -> None:
        self._blocks.close()
        super().close()


def _gunzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Blocks of one gzip member, and nothing behind it. Raises IntegrityError."""
    unzip = zlib.decompressobj(wbits=31)
    for chunk in chunks:
        while chunk:
            if unzip.eof:
                raise _refuse("something follows its end")
            try:
                block = unzip.decompress(chunk, _BLOCK)
            except zlib.error as error:
                raise _refuse(f"not gzip: {error}") from None
            if block:
                yield block
            chunk = unzip.unused_data or unzip.unconsumed_tail
    if not unzip.eof:
        raise _refuse("it ends in the middle")


def _read_ahead(blocks: Iterator[bytes]) -> Generator[bytes, None, None]:
    """The same, made one ahead by a thread: zlib and hashing let others run."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, blocks, b"")
        while block := pending.result():
            pending = pool.submit(next, blocks, b"")
            yield block


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
    missing = dict(files)
    folders = {"", "."} | {
        path.rsplit("/", depth)[0] for path in files for depth in range(1, path.count("/") + 1)
    }
    with (
        _open_tar(chunks, get_limit(files.values())) as (archive, layer),
        FileWriter(into, "layer") as writer,
    ):
        for info in _list_members(archive):
            path = info.name.removeprefix("./")
            if info.isdir():
                if path.rstrip("/") not in folders:
                    raise _refuse(f"folder {path!r:.200} is not listed")
                continue
            wanted = missing.pop(path, None)
            if wanted is None:
                why = "is in it twice" if path in files else "is not listed"
                raise _refuse(f"{path!r:.200} {why}")
            if info.size != wanted.size:
                raise _refuse(f"{path!r} has {info.size} bytes, not {wanted.size}")
            source = archive.extractfile(info)
            assert source is not None
            writer.write(path, wanted, source)
        if missing:
            raise _refuse(f"{next(iter(missing))!r} is listed and not in it")
        got = layer.finish()
    if diff_id is not None and got != diff_id:
        raise _refuse(f"its contents are {got}, not {diff_id}")


def list_layer(chunks: Iterator[bytes], limit: int) -> list[PackFile]:
    """The files of a layer of at most `limit` bytes, by their path in it, which stays below where
    it is unpacked. Raises IntegrityError."""
    found: dict[str, PackFile] = {}
    with _open_tar(chunks, limit) as (archive, layer):
        for info in _list_members(archive):
            path = info.name.removeprefix("./")
            if info.isdir():
                continue
            problem = "is in it twice" if path in found else find_name_problem(path)
            problem = problem if to_text(path) == path else "is not a plain name"
            if problem is not None:
                raise _refuse(f"{path!r:.200} {problem}")
            if len(found) >= MAX_FILES:
                raise _refuse(f"it holds more than {MAX_FILES} files")
            source, digest = archive.extractfile(info), hashlib.sha256()
            assert source is not None
            while data := source.read(_BLOCK):
                digest.update(data)
            mtime_ns = max(int(info.mtime), 0) * 10**9
            is_executable = bool(info.mode & 0o100)
            found[path] = PackFile(path, info.size, digest.hexdigest(), mtime_ns, is_executable)
        layer.finish()
    return list(found.values())


def read_single(chunks: Iterator[bytes], path: str, limit: int, *, diff_id: str) -> bytes:
    """The one file of a layer, of at most `limit` bytes. Raises IntegrityError for all else."""
    data = b""
    with _open_tar(chunks, limit + _BLOCK) as (archive, layer):
        for info in _list_members(archive):
            name = info.name.removeprefix("./").rstrip("/")
            if info.isdir() and f"{path}/".startswith(f"{name}/"):
                continue
            if name != path or data or info.size > limit:
                raise IntegrityError("not a pack of warmup-ci", cause=f"it holds {name!r:.200}")
            source = archive.extractfile(info)
            assert source is not None
            data = source.read()
        got = layer.finish()
    if got != diff_id or not data:
        raise IntegrityError("not a pack of warmup-ci", cause=f"it has no {path}")
    return data


@contextlib.contextmanager
def _open_tar(chunks: Iterator[bytes], limit: int) -> Iterator[tuple[tarfile.TarFile, _Layer]]:
    try:
        with (
            contextlib.closing(_Layer(chunks, limit)) as layer,
            tarfile.open(fileobj=layer, mode="r|", bufsize=_READ, tarinfo=_StrictInfo) as archive,
        ):
            yield archive, layer
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise _refuse(f"not a tar: {error}") from None


def _list_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for info in archive:
        if info.issparse():  # by pax headers, of a file that looks like any other
            raise _refuse(f"it holds a sparse file: {info.name!r:.200}")
        yield info


def _refuse(cause: str) -> IntegrityError:
    return IntegrityError("layer refused", cause=cause)
