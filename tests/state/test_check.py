from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.state.helpers import make_home, make_launch, make_marker_of, make_vector, warm
from warmup.caches.manifest import make_manifest
from warmup.caches.records import Manifest, encode
from warmup.caches.walk import take_snapshot
from warmup.state.check import check_launch, judge
from warmup.state.marker import SCHEMA
from warmup.state.marker_files import write_marker

LAUNCH, VECTOR = make_launch(), make_vector()
ENV = {"HOME": "/nonexistent"}


def test_never_warmed(tmp_path: Path) -> None:
    check = check_launch(make_home(tmp_path), LAUNCH, VECTOR, ENV)
    assert (check.state, check.is_warm, check.marker) == ("missing", False, None)


def test_warm(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    marker = warm(home, LAUNCH, VECTOR)
    check = check_launch(home, LAUNCH, VECTOR, ENV)
    assert check.is_warm
    assert check.reason == f"marker of {marker.created[:10]}"
    assert check.path == home.markers / f"{marker.name}.json"


@pytest.mark.parametrize(
    ("old", "new", "state"),
    [
        ("13.0.88", "unreadable: silent for 30 s", "unjudged"),
        ("unreadable: silent for 30 s", "13.0.88", "unjudged"),
        ("unreadable: silent for 30 s", "unreadable: silent for 30 s", "unjudged"),
        ("13.0.88", "13.1.0", "stale"),
    ],
)
def test_what_could_not_be_read_proves_nothing(
    tmp_path: Path, old: str, new: str, state: str
) -> None:
    home = make_home(tmp_path)
    warm(home, LAUNCH, make_vector(nvcc=old))
    check = check_launch(home, LAUNCH, make_vector(nvcc=new), ENV)
    assert (check.state, check.is_warm) == (state, False)
    if state == "unjudged":
        assert check.reason == "could not be read: nvcc (silent for 30 s)"
    also = check_launch(home, LAUNCH, make_vector(nvcc=new, triton="4.0"), ENV)
    assert also.state == "stale", "what else changed is proof enough"


def test_another_vector_or_launch_is_cold(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    warm(home, LAUNCH, VECTOR)
    check = check_launch(home, LAUNCH, make_vector(triton="4.0"), ENV)
    assert (check.state, check.reason) == ("stale", "triton 3.9.0 → 4.0")
    assert check_launch(home, make_launch(tp=4), VECTOR, ENV).state == "missing"


def test_an_older_vector_come_back_is_warm_again(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    warm(home, LAUNCH, VECTOR)
    warm(home, LAUNCH, make_vector(triton="4.0"))
    assert check_launch(home, LAUNCH, VECTOR, ENV).is_warm


def test_the_reason_names_three_changes_at_most() -> None:
    new = make_vector(triton="4", nvcc="14", a="1", b="2", c="3")
    assert judge(make_marker_of(LAUNCH, VECTOR), new).reason == (
        "triton 3.9.0 → 4, nvcc 13.0.88 → 14, a none → 1, and 2 more"
    )


def test_a_cache_that_is_gone_is_cold(tmp_path: Path) -> None:
    home, cache = make_home(tmp_path), tmp_path / "cache"
    env = {"TRITON_CACHE_DIR": str(cache), "HOME": str(tmp_path)}
    (cache / "KEY").mkdir(parents=True)
    (cache / "KEY" / "kernel.cubin").write_bytes(b"x")
    snapshot = take_snapshot(["triton"], env)
    manifest = encode(make_manifest(snapshot, snapshot))
    marker = make_marker_of(LAUNCH, VECTOR, manifest=manifest)
    (home.manifests / marker.manifest).write_bytes(manifest)
    write_marker(home, marker)
    assert check_launch(home, LAUNCH, VECTOR, env).is_warm
    (cache / "KEY" / "kernel.cubin").unlink()
    check = check_launch(home, LAUNCH, VECTOR, env)
    assert (check.state, check.is_warm) == ("dangling", False)
    assert "kernel" in check.reason
    moved = check_launch(home, LAUNCH, VECTOR, {**env, "TRITON_CACHE_DIR": "/elsewhere"})
    assert moved.state == "dangling"
    assert "/elsewhere" in moved.reason


@pytest.mark.parametrize("data", [None, b"", b"{}", encode(Manifest({})) + b" "])
def test_a_manifest_that_does_not_stand(tmp_path: Path, data: bytes | None) -> None:
    home = make_home(tmp_path)
    path = home.manifests / warm(home, LAUNCH, VECTOR).manifest
    path.unlink() if data is None else path.write_bytes(data)
    check = check_launch(home, LAUNCH, VECTOR, ENV)
    assert check.state == "dangling"
    assert "manifest" in check.reason


def test_a_bad_file_in_the_markers_place(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    marker = warm(home, LAUNCH, VECTOR)
    path = home.markers / f"{marker.name}.json"
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    check = check_launch(home, LAUNCH, VECTOR, ENV)
    assert (check.state, check.path) == ("corrupt", path)
    assert check.reason.startswith("marker corrupt: ")
    assert path.exists()
    path.write_bytes(msgspec.json.encode({"schema": SCHEMA + 1}))
    assert check_launch(home, LAUNCH, VECTOR, ENV).state == "future"


def test_an_older_good_marker_says_more_than_a_foreign_file(tmp_path: Path) -> None:
    home = make_home(tmp_path)
    marker = warm(home, LAUNCH, VECTOR)
    bad = home.markers / f"x--tp2--{marker.launch_key}--0000.json"
    bad.write_bytes(b"nonsense")
    check = check_launch(home, LAUNCH, make_vector(triton="4.0"), ENV)
    assert check.state == "stale"
    assert [problem.path for problem in check.problems] == [bad]
    (home.markers / f"{marker.name}.json").unlink()
    assert check_launch(home, LAUNCH, VECTOR, ENV).state == "corrupt"
