"""Layers to try a reader with: ours, and those that an enemy would write."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from warmup.packs.archive import LayerFacts, Member, write_layer
from warmup.packs.contents import PackFile
from warmup.packs.unpack import unpack_layer
from warmup.words.files import Folder

MTIME_NS = 1_700_000_000_123_456_789


def make_member(path: str, data: bytes, *, executable: bool = False) -> Member:
    return Member(
        path=path,
        size=len(data),
        mtime_s=MTIME_NS // 10**9,
        executable=executable,
        open=lambda: io.BytesIO(data),
    )


def pack(files: Mapping[str, bytes]) -> tuple[bytes, LayerFacts]:
    out = io.BytesIO()
    facts = write_layer(out, [make_member(path, data) for path, data in files.items()])
    return out.getvalue(), facts


def list_files(files: Mapping[str, bytes]) -> dict[str, PackFile]:
    return {
        path: PackFile(path, len(data), hashlib.sha256(data).hexdigest(), MTIME_NS)
        for path, data in files.items()
    }


def split(data: bytes, size: int = 777) -> Iterator[bytes]:
    return iter([data[at : at + size] for at in range(0, len(data), size)])


def unpack(
    data: bytes, files: Mapping[str, PackFile], into: Path, diff_id: str | None = None
) -> None:
    into.mkdir(exist_ok=True)
    with Folder.open(into) as folder:
        unpack_layer(split(data), files, folder, diff_id=diff_id)


def make_tar(*infos: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A gzipped tar of exactly these headers, whatever they claim."""
    raw = io.BytesIO()
    for info, data in infos:
        raw.write(info.tobuf(tarfile.PAX_FORMAT))
        raw.write(data + b"\0" * (-len(data) % 512))
    raw.write(b"\0" * 1024)
    return gzip.compress(raw.getvalue())


def make_info(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info
