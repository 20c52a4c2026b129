from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmup.caches.records import (
    EntryRecord,
    FileRecord,
    Manifest,
    RootRecord,
    decode,
    encode,
)
from warmup.words.errors import IntegrityError

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1).filter(
    lambda name: name not in (".", "..")
)
FILES = st.builds(
    FileRecord,
    name=NAMES,
    size=st.integers(0, 1 << 62),
    mtime=st.integers(-1, 1 << 40),
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
)
ENTRIES = st.builds(EntryRecord, path=NAMES, kernel=NAMES, added=st.booleans(),
                    files=st.lists(FILES, max_size=3))  # fmt: skip
ROOTS = st.builds(RootRecord, root=NAMES.map(lambda n: f"/{n}"),
                  entries=st.lists(ENTRIES, max_size=3))  # fmt: skip


@given(st.dictionaries(st.sampled_from(["triton", "deep_gemm"]), st.lists(ROOTS, max_size=2)))
def test_any_manifest_survives(families: dict[str, list[RootRecord]]) -> None:
    manifest = Manifest(families)
    assert decode(encode(manifest)) == manifest


def make(path: str = "KEY", name: str = "a.json", root: str = "/c", **changes: object) -> bytes:
    """A manifest's JSON, by hand, so that it may be one that `encode` never makes."""
    file = {"name": name, "size": 1, "mtime": 1, "sha256": "0" * 64}
    entry = {"path": path, "kernel": "k", "added": True, "files": [file]}
    families = {"triton": [{"root": root, "entries": [entry]}]}
    return json.dumps({"families": families, "basis": "present", "schema": 1, **changes}).encode()


def test_one_made_by_hand_is_read() -> None:
    assert decode(make()).families["triton"][0].entries[0].files[0].size == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        make()[:-10],
        make(path="../evil"),
        make(path="a/../../evil"),
        make(path="/etc"),
        make(path=""),
        make(path="a\0b"),
        make(name="../../evil"),
        make(name="/etc/passwd"),
        make(root="relative"),
        make(root="/a\0b"),
        make(schema=2),
        make(basis="rumour"),
        make(families={"cudnn": []}),
        make(families={"triton": 7}),
        make(entries=10**9),
        make().replace(b'"size": 1', b'"size": -1'),
        make().replace(b'"size": 1', b'"size": 1' + b"0" * 400),
        make().replace(b"0" * 64, b"zz"),
        b'{"families": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"families": {"triton": ' + b'{"x":' * 100_000,
    ],
)
def test_a_hostile_or_broken_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode(data)


def test_every_truncation_is_refused() -> None:
    data = make()
    for size in range(len(data)):
        with pytest.raises(IntegrityError):
            decode(data[:size])


def test_a_name_that_only_looks_like_a_way_out_is_none() -> None:
    assert decode(make(path="a..b/..c", name="x..")).families
