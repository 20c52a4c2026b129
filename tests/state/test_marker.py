from __future__ import annotations

import hashlib
import json
import os
import socket
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.state.helpers import (
    make_home,
    make_launch,
    make_marker_of,
    make_vector,
    read,
    run_as_nobody,
)
from tests.state.write_schema import SCHEMA_FILE, make_schema
from warmup.caches.manifest import FamilySummary
from warmup.state.home import Home
from warmup.state.marker import Marker, encode_marker, get_marker_name, get_slug
from warmup.state.marker_files import (
    MAX_BYTES,
    MarkerProblem,
    find_markers,
    list_markers,
    write_marker,
)
from warmup.state.version_vector import Ingredient, VersionVector
from warmup.words import encoding
from warmup.words.errors import HostError

LAUNCH, VECTOR = make_launch(), make_vector()
MARKER = make_marker_of(LAUNCH, VECTOR)


def get_problem(path: Path, data: bytes) -> MarkerProblem:
    path.write_bytes(data)
    problem = read(path)
    assert isinstance(problem, MarkerProblem)
    assert problem.path == path
    assert "\n" not in problem.reason
    assert path.read_bytes() == data
    return problem


def sign(data: dict[str, Any]) -> bytes:
    """A file whose checksum holds, whatever it says."""
    data = {name: value for name, value in data.items() if name != "checksum"}
    return encoding.encode_pretty({**data, "checksum": encoding.get_digest(data)})


def test_a_marker_comes_back_as_it_was_written(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    path = write_marker(home, MARKER)
    assert path.name == f"{get_marker_name(LAUNCH, VECTOR.key)}.json"
    assert path.name == f"org--Name-1B--tp2--{LAUNCH.key}--{VECTOR.key}.json"
    assert path.stat().st_mode & 0o777 == 0o600
    found = read(path)
    assert isinstance(found, Marker)
    assert msgspec.structs.replace(found, checksum="") == MARKER
    assert found.vector == VECTOR
    assert (found.tp, found.dp, found.ep, found.cfg) == (2, 2, 1, 1)


def test_anyone_can_check_the_checksum() -> None:
    data = json.loads(encode_marker(MARKER))
    checksum = data.pop("checksum")
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == checksum


TEXT = st.text(max_size=8)


@given(
    model=st.text(min_size=1, max_size=20),
    args=st.lists(TEXT, max_size=4),
    values=st.dictionaries(TEXT, TEXT, max_size=4),
    seconds=st.floats(min_value=0, max_value=1e12, allow_nan=False),
    proven=st.booleans(),
)
def test_any_marker_comes_back(  # type: ignore[no-untyped-def]
    tmp_path_factory, model, args, values, seconds, proven
) -> None:
    home = Home(tmp_path_factory.mktemp("home"))
    home.ensure()
    vector = VersionVector(tuple(Ingredient(name, text) for name, text in values.items()))
    launch = make_launch(model=model.replace("\0", ""), fallback_args=tuple(args))
    marker = make_marker_of(
        launch, vector, argv=tuple(args), seconds=seconds, phases={"ready": seconds}, proven=proven
    )
    found = read(write_marker(home, marker))
    assert isinstance(found, Marker), found
    assert msgspec.structs.replace(found, checksum="") == marker


def test_every_flipped_bit_is_seen(tmp_path: Path) -> None:
    path = tmp_path / f"{MARKER.name}.json"
    data = encode_marker(MARKER)
    path.write_bytes(data)
    assert isinstance(read(path), Marker)
    fd = os.open(path, os.O_WRONLY)
    try:
        for index in range(len(data)):
            for bit in range(8):
                os.pwrite(fd, bytes([data[index] ^ 1 << bit]), index)
                assert isinstance(read(path), MarkerProblem), (index, bit)
            os.pwrite(fd, data[index : index + 1], index)
    finally:
        os.close(fd)
    assert isinstance(read(path), Marker)


def test_every_truncation_is_seen(tmp_path: Path) -> None:
    path = tmp_path / f"{MARKER.name}.json"
    data = encode_marker(MARKER)
    for length in range(len(data)):
        assert get_problem(path, data[:length]).kind == "corrupt"


def test_longer_than_written(tmp_path: Path) -> None:
    path = tmp_path / f"{MARKER.name}.json"
    for extra in (b"\n", b" ", b"\0", b"{}"):
        assert get_problem(path, encode_marker(MARKER) + extra).kind == "corrupt"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "corrupt"),
        (b"\0" * 4096, "corrupt"),
        (b"\xff\xfe", "corrupt"),
        (b"[" * 100_000, "corrupt"),
        (b"{}", "foreign"),
        (b"[]", "foreign"),
        (b'"text"', "foreign"),
        (b'{"schema": "1"}', "foreign"),
        (b'{"schema": true}', "foreign"),
        (b'{"schema": 0, "checksum": ""}', "foreign"),
        (b'{"schema": 1}', "foreign"),
        (b'{"schema": 2}', "foreign"),
        (b'{"schema": 1, "checksum": 5}', "corrupt"),
        (b'{"schema": 2, "checksum": 5}', "corrupt"),
        (b'{"schema": 2, "checksum": "x", "n": 1e999}', "corrupt"),
        (b'{"schema": 3, "anything": []}', "future"),
        (b'{"schema": 123456789012345678901234567890}', "future"),
        (b" " * (MAX_BYTES + 1), "foreign"),
    ],
)
def test_what_is_no_marker(tmp_path: Path, data: bytes, kind: str) -> None:
    assert get_problem(tmp_path / "x.json", data).kind == kind


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"dp": "2"}, "foreign"),
        ({"families": None}, "foreign"),
        ({"version_key": "0" * 16}, "corrupt"),
        ({"launch_key": "0" * 16}, "corrupt"),
        ({"manifest": "../../etc/passwd"}, "corrupt"),
        ({"launch": {**msgspec.to_builtins(MARKER.launch), "model": "org/other"}}, "corrupt"),
        ({"schema": 1}, "outdated"),
    ],
)
def test_a_checksum_alone_does_not_make_a_marker(
    tmp_path: Path, changes: dict[str, Any], kind: str
) -> None:
    data = {**msgspec.to_builtins(MARKER), **changes}
    assert get_problem(tmp_path / f"{MARKER.name}.json", sign(data)).kind == kind


def test_another_markers_name(tmp_path: Path) -> None:
    assert get_problem(tmp_path / "x.json", encode_marker(MARKER)).kind == "foreign"


def test_no_regular_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    assert read(path) == MarkerProblem(
        path, "unreadable", "it cannot be read: No such file or directory"
    )
    path.mkdir()
    assert read(path) == MarkerProblem(path, "foreign", "it is not a regular file")
    path.rmdir()
    os.mkfifo(path)
    assert read(path) == MarkerProblem(path, "foreign", "it is not a regular file")
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert read(path) == MarkerProblem(path, "foreign", "it is not a regular file")
    path.unlink()
    path.symlink_to(path)
    assert read(path) == MarkerProblem(path, "foreign", "it is a symbolic link")


def test_a_marker_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / f"{MARKER.name}.json"
    path.write_bytes(encode_marker(MARKER))
    path.chmod(0)
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:  # pytest's own folders are 0700
        parent.chmod(parent.stat().st_mode | 0o055)

    def work() -> None:
        problem = read(path)
        assert isinstance(problem, MarkerProblem)
        assert problem == MarkerProblem(path, "unreadable", "it cannot be read: Permission denied")

    run_as_nobody(work)


def test_finding_and_listing(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    assert list_markers(home) == []
    old = msgspec.structs.replace(MARKER, created="2026-01-01T00:00:00.000+00:00")
    new = make_marker_of(LAUNCH, make_vector(triton="4.0"))
    other = make_marker_of(make_launch(tp=4), VECTOR)
    for marker in (old, new, other):
        write_marker(home, marker)
    bad = home.markers / f"org--Name-1B--tp2--{MARKER.launch_key}--ffff.json"
    bad.write_text("nonsense")
    (home.markers / "README").write_text("not ours")
    found, problems = find_markers(home, MARKER.launch_key)
    assert [marker.version_key for marker in found] == [new.version_key, old.version_key]
    assert [problem.path for problem in problems] == [bad]
    assert len(list_markers(home)) == 4
    assert find_markers(Home(tmp_path / "none"), MARKER.launch_key) == ([], [])


def test_a_home_that_takes_no_marker(tmp_path: Path) -> None:
    home = Home(tmp_path / "none")
    with pytest.raises(HostError, match="cannot write the marker") as caught:
        write_marker(home, MARKER)
    assert "errno 2" in (caught.value.cause or "")


@pytest.mark.parametrize(
    ("model", "slug"),
    [
        ("deepseek-ai/DeepSeek-V3.2", "deepseek-ai--DeepSeek-V3.2"),
        ("/data/models/tiny text/", "tiny-text"),
        ("..", "model"),
        ("modèle", "mod-le"),
        ("a" * 300, "a" * 100),
    ],
)
def test_slugs(model: str, slug: str) -> None:
    assert get_slug(model) == slug


def test_the_schema_file_has_not_drifted() -> None:
    assert SCHEMA_FILE.read_bytes() == make_schema(), (
        "write it anew: python -m tests.state.write_schema"
    )


def test_a_real_marker_keeps_the_schema(tmp_path: Path) -> None:
    schema = json.loads(SCHEMA_FILE.read_bytes())
    jsonschema.validate(json.loads(encode_marker(MARKER)), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**json.loads(encode_marker(MARKER)), "dp": "2"}, schema)


def test_no_secret_reaches_a_marker() -> None:
    launch = make_launch(env={"HF_TOKEN": "hf_secret", "API_KEY": "k-secret"})
    families = {"triton": FamilySummary("/x", 0, 0, "")}
    assert b"secret" not in encode_marker(make_marker_of(launch, VECTOR, families=families))
