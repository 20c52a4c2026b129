"""Cubins that no driver can load: empty, truncated, or not ELF files at all.

A cubin is a 64-bit little-endian ELF file of machine 190 (EM_CUDA); nvcc 13.0 and Triton 3.9 put
its section headers and then its program headers at the very end, so any truncation cuts them.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from warmup.caches.hazards.rule import Finding, Rule, RuleGroup, Scope
from warmup.caches.remove import open_below, remove_inside
from warmup.words.escape import from_text
from warmup.words.files import Opener, open_regular

EM_CUDA = 190
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SHT_NOBITS = 8


def find_fault(path: str, opener: Opener = open_regular) -> str | None:
    """What is wrong with a cubin as a file; None if it is whole, or gone meanwhile."""
    try:
        fd = opener(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    try:
        return _find_elf_fault(fd, os.fstat(fd).st_size)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    finally:
        os.close(fd)


def _find_elf_fault(fd: int, size: int) -> str | None:
    header = os.pread(fd, _HEADER.size, 0)
    if not size:
        return "is empty"
    if header[:4] != b"\x7fELF":
        return "is not an ELF file"
    if len(header) < _HEADER.size:
        return f"is truncated: {size} bytes"
    if header[4:6] != b"\x02\x01":
        return "is not a 64-bit little-endian ELF file"
    fields = _HEADER.unpack(header)
    machine, phoff, shoff = fields[2], fields[5], fields[6]
    phentsize, phnum, shentsize, shnum = fields[9:13]
    if machine != EM_CUDA:
        return f"is not a CUDA object (machine {machine})"
    end = max(phoff + phentsize * phnum, shoff + shentsize * shnum)
    if end > size:
        return f"is truncated: {size} bytes of at least {end}"
    if not shnum:
        return None
    if shentsize != _SECTION.size:
        return f"has section headers of {shentsize} bytes"
    table = os.pread(fd, shentsize * shnum, shoff)
    if len(table) < shentsize * shnum:
        return f"is truncated: {size} bytes"
    for fields in _SECTION.iter_unpack(table):
        kind, offset, length = fields[1], fields[4], fields[5]
        if kind != _SHT_NOBITS and offset + length > size:
            return f"is truncated: {size} bytes of at least {offset + length}"
    return None


def find_architecture(data: bytes) -> int | None:
    """The SM number (90, 100, …) of the cubin that starts `data`; None where none does.

    e_flags: bits 8–23 from ELF ABI version 8 on (nvcc 13.0), bits 0–7 before.
    """
    if len(data) < _HEADER.size or data[:6] != b"\x7fELF\x02\x01":
        return None
    fields = _HEADER.unpack_from(data)
    if fields[2] != EM_CUDA:
        return None
    flags: int = fields[7]
    return (flags >> 8) & 0xFFFF if data[8] >= 8 else flags & 0xFF


def check(scope: Scope) -> Iterator[Finding]:
    for entry, _, path in scope.iter_files(".cubin"):
        fault = find_fault(path, scope.open_file)
        if fault is not None:
            yield BROKEN.make_finding(scope, path, f"the cubin {fault}", entry=entry)


def repair(finding: Finding) -> str:
    """Remove the whole entry, so that it is compiled again."""
    root = from_text(finding.root)
    folder, _, name = finding.relative.rpartition("/")
    try:
        with open_below(root, folder) as opened:
            is_whole = find_fault(name, lambda _: opened.open_file(name)) is None
    except FileNotFoundError:
        is_whole = True
    if is_whole:
        return "nothing left to do"
    remove_inside(root, from_text(finding.entry))
    return f"removed the entry {finding.entry}"


def is_half(finding: Finding) -> bool:
    """Not one of another kind, which some server may have put there on purpose."""
    fault = find_fault(from_text(finding.path))
    return fault is not None and fault.startswith(("is empty", "is truncated"))


BROKEN = Rule(
    id="cubin-broken",
    severity="error",
    summary="A cubin is empty or truncated: it is found in the cache and fails at load",
    link="https://github.com/flashinfer-ai/flashinfer/issues/4062",
    repair=repair,
    fix="remove the entry; the next start compiles it",
    is_half=is_half,
)
GROUP = RuleGroup(
    (BROKEN,),
    ("deep_gemm", "triton", "inductor", "flashinfer", "tilelang", "tvm_ffi", "vllm"),
    check,
)
