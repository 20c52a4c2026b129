"""Layers: the same bytes from whoever packs, and nothing unpacked but what is listed."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.packs.layers import (
    MTIME_NS,
    list_files,
    make_info,
    make_member,
    make_tar,
    pack,
    split,
    unpack,
)
from warmup.packs import unpack as unpack_module
from warmup.packs.archive import write_layer
from warmup.packs.contents import PackFile, find_name_problem
from warmup.packs.unpack import list_layer
from warmup.words.errors import IntegrityError

FILES = {
    "triton/K1/k.cubin": b"\x7fELF" + bytes(5000),
    "triton/K1/k.json": b"{}",
    "triton/" + "n" * 200 + "/k.ptx": b".version 8.0",
    "triton/empty": b"",
    "triton/\u00e4\u4e2d": b"not ascii",
}


def read_tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_same_content_gives_the_same_layer_in_any_order(tmp_path: Path) -> None:
    data, facts = pack(FILES)
    again, same = pack(dict(reversed(FILES.items())))
    assert data == again
    assert facts == same
    assert facts.size == len(data)


def test_what_was_packed_comes_out_with_times_and_modes(tmp_path: Path) -> None:
    data, facts = pack(FILES)
    unpack(data, list_files(FILES), tmp_path / "out", facts.diff_id)
    assert read_tree(tmp_path / "out") == FILES
    status = (tmp_path / "out" / "triton" / "K1" / "k.cubin").stat()
    assert status.st_mtime_ns == MTIME_NS
    assert status.st_mode & 0o777 == 0o600


def test_a_plain_tar_reads_it_too(tmp_path: Path) -> None:
    data, _ = pack(FILES)
    (tmp_path / "layer.tar.gz").write_bytes(data)
    with tarfile.open(tmp_path / "layer.tar.gz") as archive:
        names = {info.name for info in archive if info.isfile()}
        assert {(info.uid, info.gid, info.uname) for info in archive} == {(0, 0, "")}
    assert names == set(FILES)


def test_a_file_that_changes_while_it_is_packed_is_told(tmp_path: Path) -> None:
    for size in (3, 5):
        member = make_member("triton/k", b"1234")
        changed = type(member)(**{**member.__dict__, "size": size})
        with pytest.raises(IntegrityError, match="changed while it was packed"):
            write_layer(io.BytesIO(), [changed])


LISTED = {"triton/k": b"1234"}


@pytest.mark.parametrize(
    ("info", "data", "cause"),
    [
        (make_info("../k", 4), b"1234", "is not listed"),
        (make_info("/etc/passwd", 4), b"1234", "is not listed"),
        (make_info("triton/../../k", 4), b"1234", "is not listed"),
        (make_info("triton/other", 4), b"1234", "is not listed"),
        (make_info("elsewhere", kind=tarfile.DIRTYPE), b"", "is not listed"),
        (make_info("triton/k", kind=tarfile.SYMTYPE), b"", "a symbolic link"),
        (make_info("triton/k", kind=tarfile.LNKTYPE), b"", "a hard link"),
        (make_info("triton/k", kind=tarfile.CHRTYPE), b"", "a device"),
        (make_info("triton/k", kind=tarfile.FIFOTYPE), b"", "a FIFO"),
        (make_info("triton/k", 4, tarfile.GNUTYPE_SPARSE), b"1234", "a sparse file"),
        (make_info("x", 1 << 40, tarfile.XGLTYPE), b"", "a global header"),
        (make_info("x", 1 << 32, tarfile.XHDTYPE), b"", "a name in it is too long"),
        (make_info("x", 1 << 32, tarfile.GNUTYPE_LONGNAME), b"", "a name in it is too long"),
        (make_info("triton/k", 1 << 40), b"", "has 1099511627776 bytes, not 4"),
        (make_info("triton/k", 5), b"12345", "has 5 bytes, not 4"),
        (make_info("triton/k", 4), b"1235", "not what its sha256 says"),
    ],
)
def test_what_is_not_listed_is_refused(
    info: tarfile.TarInfo, data: bytes, cause: str, tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError, match="layer refused") as caught:
        unpack(make_tar((info, data)), list_files(LISTED), tmp_path / "out")
    assert cause in (caught.value.cause or "")
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_a_duplicate_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    twice = make_tar((make_info("triton/k", 4), b"1234"), (make_info("triton/k", 4), b"1234"))
    with pytest.raises(IntegrityError) as caught:
        unpack(twice, list_files(LISTED), tmp_path / "twice")
    assert "is in it twice" in (caught.value.cause or "")
    with pytest.raises(IntegrityError) as caught:
        unpack(make_tar(), list_files(LISTED), tmp_path / "none")
    assert "is listed and not in it" in (caught.value.cause or "")


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_a_file_that_claims_a_tebibyte_by_its_headers_is_refused(
    version: str, tmp_path: Path
) -> None:
    """GNU's sparse files in pax headers: the type is a regular file's."""
    headers = {"GNU.sparse.realsize": str(1 << 40), "GNU.sparse.name": "triton/k"}
    if version == "1.0":
        headers |= {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    elif version == "0.1":
        headers |= {"GNU.sparse.map": "0,4", "GNU.sparse.size": str(1 << 40)}
    else:
        headers |= {"GNU.sparse.size": str(1 << 40), "GNU.sparse.numblocks": "1"}
    info = make_info("triton/k", 1024)
    info.pax_headers = headers
    body = b"1\n0\n4\n".ljust(512, b"\0") + b"1234".ljust(512, b"\0")
    raw = io.BytesIO(info.tobuf(tarfile.PAX_FORMAT) + body + bytes(1024))
    data = gzip.compress(raw.getvalue())
    listed = {"triton/k": PackFile("triton/k", 1 << 40, "0" * 64, 0)}
    for read in (
        lambda: unpack(data, listed, tmp_path / "out"),
        lambda: list_layer(split(data), 1 << 41),
    ):
        with pytest.raises(IntegrityError) as caught:
            read()
        assert "sparse" in (caught.value.cause or "") or "has 1024" in (caught.value.cause or "")
    assert not list((tmp_path / "out").rglob("k"))


def test_more_names_than_a_pack_may_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = pack({f"triton/{number}": b"" for number in range(101)})
    assert len(list_layer(split(data), 1 << 30)) == 101
    monkeypatch.setattr(unpack_module, "MAX_FILES", 100)
    with pytest.raises(IntegrityError) as caught:
        list_layer(split(data), 1 << 30)
    assert "more than 100 files" in (caught.value.cause or "")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=6))
def test_any_damage_gives_a_list_or_an_error(flips: list[tuple[int, int]]) -> None:
    raw = bytearray(gzip.decompress(pack(FILES)[0]))
    for at, mask in flips:
        raw[at % len(raw)] ^= mask
    try:
        found = list_layer(split(gzip.compress(bytes(raw), 1)), 1 << 30)
    except IntegrityError:
        return
    assert all(find_name_problem(each.path) is None for each in found)


def test_a_bomb_ends_at_what_the_manifest_lists(tmp_path: Path) -> None:
    """4 GiB of zeros in 4 MiB: memory and disk stay small."""
    bomb = gzip.compress(bytes(64 << 20)) * 64
    tracemalloc.start()
    with pytest.raises(IntegrityError):
        unpack(bomb, list_files(LISTED), tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("cut", [0, 1, 50, -1])
def test_a_layer_that_is_cut_or_followed_by_more_is_refused(cut: int, tmp_path: Path) -> None:
    data, _ = pack(FILES)
    with pytest.raises(IntegrityError):
        unpack(data[:cut], list_files(FILES), tmp_path / "cut")
    with pytest.raises(IntegrityError):
        unpack(data + b"more", list_files(FILES), tmp_path / "more")


def test_another_diff_id_is_refused(tmp_path: Path) -> None:
    data, _ = pack(FILES)
    with pytest.raises(IntegrityError) as caught:
        unpack(data, list_files(FILES), tmp_path / "out", "sha256:" + "0" * 64)
    assert "its contents are" in (caught.value.cause or "")


def test_a_link_in_the_root_is_not_followed(tmp_path: Path) -> None:
    data, _ = pack(FILES)
    out, victim = tmp_path / "out", tmp_path / "victim"
    out.mkdir()
    victim.mkdir()
    (out / "triton").symlink_to(victim)
    with pytest.raises(OSError):
        unpack(data, list_files(FILES), out)
    assert list(victim.iterdir()) == []


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), max_size=6),
    data=st.data(),
)
def test_any_damage_gives_the_files_or_an_error(
    flips: list[tuple[int, int]], data: st.DataObject, tmp_path: Path
) -> None:
    layer = bytearray(pack(FILES)[0])
    for at, mask in flips:
        layer[at % len(layer)] ^= mask
    out = tmp_path / os.urandom(8).hex()
    try:
        unpack(bytes(layer), list_files(FILES), out)
    except (IntegrityError, OSError):
        return
    assert read_tree(out) == FILES


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    entries=st.lists(
        st.tuples(
            st.text("ab/.\0\u00e4", max_size=12),
            st.integers(0, 1 << 42),
            st.sampled_from([b"0", b"\0", b"1", b"2", b"5", b"x", b"g", b"L", b"K", b"S", b"V"]),
            st.binary(max_size=64),
        ),
        max_size=5,
    )
)
def test_any_tar_gives_nothing_outside(
    entries: list[tuple[str, int, bytes, bytes]], tmp_path: Path
) -> None:
    infos = [(make_info(name, size, kind), body) for name, size, kind, body in entries]
    root = tmp_path / os.urandom(8).hex()
    root.mkdir()
    try:
        data = make_tar(*infos)
    except ValueError:  # no header can say that
        return
    with pytest.raises(IntegrityError):
        unpack(data, list_files(LISTED | FILES), root / "out")
    assert {path.name for path in root.iterdir()} <= {"out"}
