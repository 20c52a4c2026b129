"""ELF files as caches hold them: cubins, and libraries that a server loads.

64-bit little-endian alone; System V ABI, "Object Files", and its "Dynamic Linking" (DT_*). What is
read may be truncated or made up: offsets and sizes are held against the file's own.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

EM_CUDA = 190
_MAGIC = b"\x7fELF"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_DYNAMIC = struct.Struct("<qQ")
_SHT_NOBITS = 8
_PT_LOAD, _PT_DYNAMIC = 1, 2
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_RPATH, _DT_RUNPATH = 1, 5, 10, 15, 29
_MAX_TABLE_BYTES = 1 << 20
_MAX_NAMES_BYTES = 64 << 20


class Header(NamedTuple):
    """flags: e_flags. segments, sections: (offset of the table, bytes an entry, entries)."""

    machine: int
    flags: int
    abi_version: int
    segments: tuple[int, int, int]
    sections: tuple[int, int, int]


class Needs(NamedTuple):
    """libraries: DT_NEEDED. rpath, runpath: folders, with `$ORIGIN` unexpanded."""

    libraries: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]


def find_header(data: bytes) -> Header | None:
    """Of the ELF file that starts `data`; None where none does that is read here."""
    if len(data) < _HEADER.size or data[:6] != _MAGIC + b"\x02\x01":
        return None
    fields = _HEADER.unpack_from(data)
    machine, phoff, shoff, flags = fields[2], fields[5], fields[6], fields[7]
    phentsize, phnum, shentsize, shnum = fields[9:13]
    return Header(machine, flags, data[8], (phoff, phentsize, phnum), (shoff, shentsize, shnum))


def find_cubin_fault(fd: int) -> str | None:
    """What is wrong with a cubin as a file. Raises OSError.

    nvcc 13.0 and Triton 3.9 put its section headers and then its program headers at the very end,
    so any truncation cuts them.
    """
    size, data = os.fstat(fd).st_size, os.pread(fd, _HEADER.size, 0)
    if not size:
        return "is empty"
    if data[:4] != _MAGIC:
        return "is not an ELF file"
    if len(data) < _HEADER.size:
        return f"is truncated: {size} bytes"
    header = find_header(data)
    if header is None:
        return "is not a 64-bit little-endian ELF file"
    if header.machine != EM_CUDA:
        return f"is not a CUDA object (machine {header.machine})"
    tables = (header.segments, header.sections)
    end = max(offset + entry * count for offset, entry, count in tables)
    if end > size:
        return f"is truncated: {size} bytes of at least {end}"
    offset, entry, count = header.sections
    if count and entry != _SECTION.size:
        return f"has section headers of {entry} bytes"
    for fields in _unpack(_SECTION, os.pread(fd, entry * count, offset)):
        kind, start, length = fields[1], fields[4], fields[5]
        if kind != _SHT_NOBITS and start + length > size:
            return f"is truncated: {size} bytes of at least {start + length}"
    return None


def find_architecture(data: bytes) -> int | None:
    """The SM number (90, 100, …) of the cubin that starts `data`; None where none does.

    e_flags: bits 8–23 from ELF ABI version 8 on (nvcc 13.0), bits 0–7 before.
    """
    header = find_header(data)
    if header is None or header.machine != EM_CUDA:
        return None
    return (header.flags >> 8) & 0xFFFF if header.abi_version >= 8 else header.flags & 0xFF


def find_needs(fd: int) -> Needs | None:
    """What the dynamic loader would look for; None for what is no library it could load.

    Raises OSError.
    """
    header = find_header(os.pread(fd, _HEADER.size, 0))
    if header is None or header.segments[1] != _SEGMENT.size:
        return None
    offset, entry, count = header.segments
    segments = [*_unpack(_SEGMENT, _read(fd, entry * count, offset))]
    dynamic = next((each for each in segments if each[0] == _PT_DYNAMIC), None)
    if dynamic is None:
        return None
    table = _read(fd, min(dynamic[5], _MAX_TABLE_BYTES), dynamic[2])
    tags = [(tag, value) for tag, value in _unpack(_DYNAMIC, table)]
    values = dict(tags)
    start = _find_offset(segments, values.get(_DT_STRTAB, 0))
    if start is None:
        return None
    names = _read(fd, min(values.get(_DT_STRSZ, 0), _MAX_NAMES_BYTES), start)

    def get_names(tag: int) -> list[str]:
        ends = [(at, names.find(b"\0", at)) for kind, at in tags if kind == tag]
        return [os.fsdecode(names[at:end]) for at, end in ends if end >= 0]

    rpath, runpath = ":".join(get_names(_DT_RPATH)), ":".join(get_names(_DT_RUNPATH))
    return Needs(
        tuple(get_names(_DT_NEEDED)),
        tuple(filter(None, rpath.split(":"))),
        tuple(filter(None, runpath.split(":"))),
    )


def _read(fd: int, size: int, offset: int) -> bytes:
    return os.pread(fd, size, offset) if offset < 1 << 62 else b""


def _unpack(layout: struct.Struct, data: bytes) -> Iterator[tuple[int, ...]]:
    return layout.iter_unpack(data[: len(data) // layout.size * layout.size])


def _find_offset(segments: list[tuple[int, ...]], address: int) -> int | None:
    """Where in the file what is loaded at `address` lies."""
    for kind, _, offset, start, _, length, *_ in segments:
        if kind == _PT_LOAD and start <= address < start + length:
            return offset + address - start
    return None
