"""The manifest of a pack: read back as hostile."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.commands.warmed import make_vector
from warmup.packs.contents import (
    PackEntry,
    PackFamily,
    PackFile,
    PackLaunch,
    PackManifest,
    decode_contents,
    encode_contents,
    find_name_problem,
)
from warmup.words.errors import IntegrityError

SHA = "0" * 64
VECTOR = make_vector(torch="2.13")


def make(*paths: str, folder: str = "triton", entry: str = "K", **changes: Any) -> PackManifest:
    files = [PackFile(path, 1, SHA, 1) for path in paths or ("K/a",)]
    family = PackFamily(folder, f"sha256:{SHA}", ["/x"], [PackEntry(entry, "add", files)])
    launch = PackLaunch(
        model="m",
        tp=1,
        engine="command",
        launch_key="0" * 16,
        engine_version=None,
        ingredients=list(VECTOR.ingredients),
        seconds=1.0,
        proven=False,
        warmed_by="server",
        entries={"triton": [entry]},
    )
    fields: dict[str, Any] = {
        "created": "2026-01-01",
        "tool_version": "0",
        "version_key": VECTOR.key,
        "ingredients": list(VECTOR.ingredients),
        "launches": [launch],
        "families": {"triton": family},
    }
    return PackManifest(**{**fields, **changes})


def test_what_was_written_is_read() -> None:
    assert decode_contents(encode_contents(make())) == make()


@pytest.mark.parametrize(
    ("manifest", "cause"),
    [
        (make("../a", entry=".."), "leads outside"),
        (make("/a", entry="/a"), "leads outside"),
        (make("K/../../a"), "leads outside"),
        (make("L/a"), "is not a file of its entry"),
        (make("K/a", "K/a"), "is listed twice"),
        (make("K/a", "K/a/b"), "lies in what is a file"),
        (make("/".join("K" * 40)), "is deeper than"),
        (make("K/" + "n" * 5000), "is longer than"),
        (make("K/" + "n" * 256), "has a name of more than 255 bytes"),
        (make(folder="deep_gemm"), "family triton lies in"),
        (make(folder="triton/../.."), "family triton lies in"),
        (make(version_key="0" * 16), "is not that of its ingredients"),
        (make(families={}), "needs entries of triton that it does not hold"),
    ],
)
def test_what_leads_out_or_contradicts_itself_is_refused(
    manifest: PackManifest, cause: str
) -> None:
    with pytest.raises(IntegrityError, match="pack refused") as caught:
        decode_contents(encode_contents(manifest))
    assert cause in (caught.value.cause or "")


@pytest.mark.parametrize(
    ("path", "cause"), [("../../out", "has no files"), ("", "has no files"), ("K", "listed twice")]
)
def test_an_entry_that_is_nothing_of_its_own_is_refused(path: str, cause: str) -> None:
    """Nothing can be moved for it: a pull would end in the middle of its family."""
    data = msgspec.to_builtins(make())
    data["families"]["triton"]["entries"].append({"path": path, "kernel": "k", "files": []})
    with pytest.raises(IntegrityError, match="pack refused") as caught:
        decode_contents(json.dumps(data).encode())
    assert cause in (caught.value.cause or "")


@pytest.mark.parametrize("seconds", [-1e308, 1e300])
def test_seconds_that_nothing_took_are_refused(seconds: float) -> None:
    """They would become our marker's, by which shards are balanced."""
    data = msgspec.to_builtins(make())
    data["launches"][0]["seconds"] = seconds
    with pytest.raises(IntegrityError, match="pack refused"):
        decode_contents(json.dumps(data).encode())


def test_a_future_schema_says_upgrade() -> None:
    with pytest.raises(IntegrityError, match="newer version") as caught:
        decode_contents(encode_contents(make(schema=99, launches=[])))
    assert caught.value.hint == "upgrade warmup-ci"


@pytest.mark.slow
def test_a_million_names_are_too_many() -> None:
    """As JSON of 150 MB: it is counted before anything is made of it."""
    data = encode_contents(make())
    file = f'{{"path":"K/%d","size":1,"sha256":"{SHA}","mtime_ns":1,"executable":false}}'
    listed = ",".join(file % number for number in range(1_000_001)).encode()
    start = data.index(b'[{"executable"')
    data = data[: start + 1] + listed + data[data.index(b"]", start) :]
    with pytest.raises(IntegrityError, match="pack refused") as caught:
        decode_contents(data)
    assert "it lists 1000001 files" in (caught.value.cause or "")


@pytest.mark.parametrize("mtime_ns", [-1, 1 << 70])
def test_a_time_that_no_file_can_have_is_refused(mtime_ns: int) -> None:
    data = msgspec.to_builtins(make())
    data["families"]["triton"]["entries"][0]["files"][0]["mtime_ns"] = mtime_ns
    with pytest.raises(IntegrityError, match="pack refused"):
        decode_contents(json.dumps(data).encode())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 10**6))
def test_any_bytes_give_a_manifest_or_a_refusal(junk: bytes, at: int) -> None:
    data = bytearray(encode_contents(make()))
    at %= len(data)
    data[at : at + len(junk)] = junk
    try:
        found = decode_contents(bytes(data))
    except IntegrityError:
        return
    for family in found.families.values():
        for entry in family.entries:
            for file in entry.files:
                assert find_name_problem(f"{family.folder}/{file.path}") is None
