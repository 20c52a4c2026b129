from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.caches.caches import set_mtime
from tests.commands.warmed import FAMILIES, Unreadable, Warmed, make_launch, make_vector
from tests.state.helpers import read
from warmup.commands.audit import audit
from warmup.commands.gc import gc
from warmup.state.gc_plan import find_oldest_live_run
from warmup.state.home import Home, make_run_id
from warmup.state.locks import hold_launch_lock
from warmup.state.marker import Marker
from warmup.state.version_vector import VersionVector, read_vector
from warmup.supervise.tree import ledger
from warmup.words import encoding
from warmup.words.errors import HostError

NEXT = make_vector(torch="2.14", deep_gemm="2.5")
HOUR = 3600.0


@pytest.fixture
def warmed(tmp_path: Path) -> Warmed:
    return Warmed(tmp_path / "w")


def run(warmed: Warmed, capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    status = gc(warmed, families=FAMILIES, json_output=True, **options)
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == status and document["schema"] == 1
    return document


def age(folder: Path, seconds: float) -> None:
    """As if last written and read that long ago."""
    for path in folder.rglob("*"):
        when = int((time.time() - seconds) * 1e9)
        os.utime(path, ns=(when, when))


@contextmanager
def live_run(warmed: Warmed, run_id: str) -> Iterator[None]:
    """Another process holds `run.lock`, as an orchestrator does."""
    folder = warmed.home.runs / run_id
    folder.mkdir()
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX);"
        "print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, folder / "run.lock"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout is not None and child.stdout.readline() == "held\n"
        yield
    finally:
        child.kill()
        child.communicate(timeout=30)


def test_what_a_fresh_marker_lists_stays(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = warmed.compile("kept", b"1234")
    marker = warmed.mark()
    orphan = warmed.compile("orphan", b"1234")
    document = run(warmed, capsys)
    assert kept.exists() and marker.exists() and not orphan.exists()
    assert [Path(each["path"]) for each in document["entries"]] == [orphan]
    assert (document["bytes"], document["left_bytes"], document["exit_code"]) == (14, 14, 0)
    assert run(warmed, capsys)["entries"] == []


def test_a_stale_marker_goes_with_its_manifest_and_entries(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = warmed.compile("old", b"1234")
    marker = warmed.mark()
    warmed.vector = NEXT
    document = run(warmed, capsys)
    manifest = warmed.home.manifests / marker.name
    assert document["markers"] == [str(marker)] and document["manifests"] == [str(manifest)]
    assert not marker.exists() and not manifest.exists() and not entry.exists()


def test_entries_shared_with_a_fresh_marker_stay(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = warmed.compile("shared", b"1234")
    old = warmed.mark()
    warmed.vector = NEXT
    new = warmed.mark()
    run(warmed, capsys)
    assert shared.exists() and new.exists() and not old.exists()


def test_keep_last_spares_the_newest_with_its_entries(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    markers, entries = [], []
    for torch in ("2.11", "2.12", "2.13"):
        warmed.vector = make_vector(torch=torch)
        entries.append(warmed.compile(f"k{torch.replace('.', '_')}", b"1234"))
        markers.append(warmed.mark())
        for entry in entries[:-1]:  # each marker lists its own entry alone
            entry.rename(entry.with_name("aside-" + entry.name))
        markers[-1] = warmed.mark()
        for entry in entries[:-1]:
            entry.with_name("aside-" + entry.name).rename(entry)
    warmed.vector = NEXT
    run(warmed, capsys, keep_last=1)
    assert [marker.exists() for marker in markers] == [False, False, True]
    assert [entry.exists() for entry in entries] == [False, False, True]


def test_a_dry_run_touches_nothing_and_tells_the_same(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    warmed.compile("old", b"1234")
    warmed.mark()
    warmed.vector = NEXT

    def list_all() -> list[Path]:
        return sorted(warmed.path.rglob("*"))

    before = list_all()
    planned = run(warmed, capsys, dry_run=True)
    assert list_all() == before
    done = run(warmed, capsys)
    for key in ("markers", "manifests", "entries", "bytes", "left_bytes"):
        assert planned[key] == done[key]


def test_max_bytes_drops_the_longest_unused_and_no_more_than_it_takes(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = warmed.compile("needed", bytes(90))
    warmed.mark()
    unneeded = {hours: warmed.compile(f"h{hours}", bytes(90)) for hours in (2, 30, 7)}
    for hours, entry in unneeded.items():
        age(entry, hours * HOUR)
    assert run(warmed, capsys, max_bytes=10_000)["entries"] == []
    document = run(warmed, capsys, max_bytes=250)
    assert [Path(each["path"]) for each in document["entries"]] == [unneeded[30], unneeded[7]]
    assert needed.exists() and unneeded[2].exists() and document["exit_code"] == 0
    document = run(warmed, capsys, max_bytes=1)
    assert document["exit_code"] == 1 and needed.exists() and not unneeded[2].exists()


def test_entries_younger_than_a_live_run_stay_until_it_ends(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    warmed.compile("needed", b"1234")
    warmed.mark()
    young, old = warmed.compile("young", b"1234"), warmed.compile("old", b"1234")
    age(old, 5 * HOUR)
    started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - HOUR))
    with live_run(warmed, f"{started}-abc123"):
        document = run(warmed, capsys)
        assert young.exists() and not old.exists() and document["spared"] == 1
    run(warmed, capsys)
    assert not young.exists()


def test_while_a_run_lives_what_any_other_marker_lists_stays(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may be warming that very launch again, with what still lies there."""
    entry = warmed.compile("old", b"1234")
    warmed.mark()
    age(entry, 5 * HOUR)
    warmed.vector = NEXT
    with live_run(warmed, "20261121T010203Z-abc123"):
        run(warmed, capsys)
        assert entry.exists()


def test_a_marker_whose_launch_is_being_warmed_stays(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = warmed.compile("old", b"1234")
    path = warmed.mark()
    marker = read(path)
    assert isinstance(marker, Marker)
    warmed.vector = NEXT
    with hold_launch_lock(warmed.home, marker.launch_key):
        document = run(warmed, capsys)
    assert document["held"] == [str(path)] and path.exists() and entry.exists()


def test_the_oldest_run_that_is_held_counts(warmed: Warmed) -> None:
    assert find_oldest_live_run(warmed.home) is None
    dead = warmed.home.runs / "20200101T000000Z-dead00"
    dead.mkdir()
    (dead / "run.lock").touch()
    assert find_oldest_live_run(warmed.home) is None
    with live_run(warmed, "20261121T010203Z-abc123"), live_run(warmed, "20261121T020304Z-abc124"):
        assert find_oldest_live_run(warmed.home) == 1795222923.0
    with live_run(warmed, "by-hand"):
        started = find_oldest_live_run(warmed.home)
        assert started is not None and abs(started - time.time()) < HOUR
    assert find_oldest_live_run(warmed.home) is None


def test_folders_that_no_marker_knows_are_left_alone(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    """A developer's caches are none of ours until a warm-up used them."""
    entry = warmed.compile("mine", b"1234")
    assert run(warmed, capsys)["entries"] == []
    assert entry.exists()


def test_bad_markers_are_never_dropped(warmed: Warmed, capsys: pytest.CaptureFixture[str]) -> None:
    warmed.compile("old", b"1234")
    corrupt = warmed.mark(make_launch("org/corrupt"))
    corrupt.write_bytes(corrupt.read_bytes()[:100])
    (warmed.home.markers / "notes.json").write_text("{}")
    document = run(warmed, capsys)
    assert document["markers"] == [] and corrupt.exists()
    assert (warmed.home.manifests / corrupt.name).exists()
    assert (warmed.home.markers / "notes.json").exists()


def test_a_marker_that_cannot_be_judged_here_stays_with_its_entries(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    entry, marker = warmed.compile("elsewhere", b"1234"), warmed.mark()

    assert gc(Unreadable(warmed.path), families=FAMILIES) == 0
    assert entry.exists() and marker.exists()


def test_manifests_without_a_marker_go_unless_a_run_lives(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    orphan = warmed.home.manifests / "crashed.json"
    orphan.write_text("{}")
    with live_run(warmed, "20261121T010203Z-abc123"):
        run(warmed, capsys)
        assert orphan.exists()
    run(warmed, capsys)
    assert not orphan.exists()


def test_old_temporaries_go_and_young_ones_stay(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    old, young = (
        warmed.root / "tmp" / "old" / "kernel.cu",
        warmed.root / "tmp" / "new" / "kernel.cu",
    )
    ours = warmed.home.markers / ".warmup-ci-0123456789abcdef.tmp"
    for path in (old, young, ours):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for path in (old, ours):
        set_mtime(path, time.time() - 2 * HOUR)
    run(warmed, capsys)
    assert not old.parent.exists() and young.exists() and not ours.exists()


def test_an_entry_that_is_a_link_by_now_is_not_followed(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    warmed.compile("kept", b"1234")
    warmed.mark()
    victim = warmed.path / "victim"
    victim.mkdir()
    (victim / "kernel.cu").touch()
    (warmed.root / "cache" / "kernel.linked.00").symlink_to(victim)
    run(warmed, capsys)
    assert (victim / "kernel.cu").exists()


def test_lines_for_people(warmed: Warmed, capsys: pytest.CaptureFixture[str]) -> None:
    warmed.compile("old", b"1234")
    warmed.mark()
    warmed.vector = NEXT
    assert gc(warmed, families=FAMILIES, dry_run=True) == 0
    text = capsys.readouterr().out
    assert "would drop 1 entry of deep_gemm, 14 B" in text
    assert text.splitlines()[-1] == "would drop 14 B in all, 0 B left"


def test_a_flock_of_ours_does_not_look_like_a_run(warmed: Warmed) -> None:
    """Two collectors at once: the shared try of one is no orchestrator to the other."""
    folder = warmed.home.runs / "20261121T010203Z-abc123"
    folder.mkdir()
    with (folder / "run.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert find_oldest_live_run(warmed.home) is None


def make_run(warmed: Warmed, run_id: str, *, lock: bool = True) -> Path:
    folder = warmed.home.runs / run_id
    folder.mkdir()
    (folder / "events.jsonl").write_text("{}\n")
    if lock:
        (folder / "run.lock").touch()
    return folder


def list_runs(warmed: Warmed) -> list[str]:
    return sorted(path.name for path in warmed.home.runs.iterdir())


def test_the_newest_runs_stay_and_whatever_is_alive(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    """300 runs left 300 folders (F20)."""
    ids = [f"20261121T0102{second:02d}Z-abc123" for second in range(30)]
    for run_id in ids[1:]:
        make_run(warmed, run_id)
    (warmed.home.runs / "notes").mkdir()
    with live_run(warmed, ids[0]):
        planned = run(warmed, capsys, dry_run=True)
        assert len(list_runs(warmed)) == 31
        document = run(warmed, capsys)
    assert document["runs"] == planned["runs"] == [
        str(warmed.home.runs / run_id) for run_id in ids[1:10]
    ]  # fmt: skip
    assert list_runs(warmed) == [ids[0], *ids[10:], "notes"]
    run(warmed, capsys, keep_runs=2)
    assert list_runs(warmed) == [*ids[-2:], "notes"]


def test_a_run_that_just_begins_and_one_to_be_reaped_stay(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = make_run(warmed, make_run_id(), lock=False)
    old = make_run(warmed, "20261121T010200Z-abc123", lock=False)
    dead, done, gone = (make_run(warmed, f"20261121T01020{n}Z-abc123") for n in (1, 2, 3))
    book = ledger.Ledger(
        run_id="r",
        boot_id=ledger.get_boot_id(),
        pid_namespace=ledger.get_pid_namespace(),
        cookie=0,
        orchestrator=ledger.Process(1 << 22, 1),
    )
    for folder, changes in ((dead, {}), (done, {"finished": True}), (gone, {"boot_id": "x"})):
        data = msgspec.json.encode(dataclasses.replace(book, **changes))
        (folder / ledger.LEDGER_NAME).write_bytes(data)
    run(warmed, capsys, keep_runs=0)
    assert [folder.exists() for folder in (fresh, old, dead, done, gone)] == [
        True, False, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["markers", "manifests", "runs", "locks"])
def test_a_folder_of_the_home_that_is_a_link_is_not_followed(
    warmed: Warmed, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """`manifests` was a link once, and gc deleted every *.json of where it led (F2)."""
    precious = warmed.path / "precious"
    precious.mkdir()
    (precious / "package.json").write_text("{}")
    (warmed.home.path / name).rmdir()
    (warmed.home.path / name).symlink_to(precious)
    warmed.home = Home(warmed.home.path)
    with pytest.raises(HostError, match="not safe to use"):
        gc(warmed, families=FAMILIES)
    assert (precious / "package.json").exists()


def test_a_folder_exchanged_while_gc_works_costs_nothing_else(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another process swaps `manifests` and a foreign folder as fast as it can."""
    foreign = warmed.path / "foreign"
    foreign.mkdir()
    precious = [foreign / f"{index}.json" for index in range(50)]
    for path in precious:
        path.write_text("{}")
    code = (
        "import sys; from pathlib import Path; from tests.state.helpers import exchange\n"
        "print('ready', flush=True)\n"
        "while True: exchange(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(warmed.home.manifests), str(foreign)]
    warmed.home.get_folder("manifests")  # opened while it is ours
    with subprocess.Popen(command, stdout=subprocess.PIPE) as swapper:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        try:
            for _ in range(100):
                warmed.home.get_folder("manifests").write_atomic("orphan.json", b"{}")
                gc(warmed, families=FAMILIES)
        finally:
            swapper.kill()
    capsys.readouterr()
    left = [path for folder in (foreign, warmed.home.manifests) for path in folder.iterdir()]
    assert sorted(path.name for path in left) == sorted(path.name for path in precious)


def test_outdated_markers_go(warmed: Warmed, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of an earlier schema: this version can never find them warm again."""
    warmed.compile("old", b"1234")
    marker = warmed.mark()
    data = json.loads(marker.read_bytes())
    del data["checksum"]
    data["schema"] = 1
    digest = encoding.get_digest(data)
    marker.write_bytes(encoding.encode_pretty({**data, "checksum": digest}))
    assert run(warmed, capsys)["markers"] == [str(marker)]
    assert not marker.exists()


def test_a_manifest_that_cannot_be_read_keeps_every_entry(
    warmed: Warmed, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it lists is needed, and nobody can tell what that is."""
    entry = warmed.compile("kept", b"1234")
    marker = warmed.mark()
    loose = warmed.compile("loose", b"1234")
    folder = warmed.home.get_folder("manifests")

    def refuse(name: str, limit: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    folder.read = refuse  # type: ignore[method-assign]
    document = run(warmed, capsys)
    assert document["exit_code"] == 1 and "Input/output error" in document["failed"][0]
    assert entry.exists() and loose.exists() and marker.exists()


def read_host(folder: Path, nvcc: str) -> VersionVector:
    """The vector of a host whose nvcc is this shell script."""
    path = folder / "cuda" / "bin" / "nvcc"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{nvcc}\n")
    path.chmod(0o755)
    env = {"CUDA_HOME": str(folder / "cuda"), "HOME": str(folder), "PATH": "/usr/bin:/bin"}
    return read_vector(python="", env=env, engines=(), source_paths=(), repo_dir=folder)


@pytest.mark.parametrize("nvcc", ["exec sleep 60", "kill -9 $$", "exit 1"])
def test_a_compiler_that_does_not_answer_costs_no_marker_and_no_entry(
    warmed: Warmed,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    nvcc: str,
) -> None:
    """On a busy host nvcc took over 30 s, and gc dropped what was valid (F5)."""
    warmed.vector = read_host(warmed.path, "echo release 13.0, V13.0.88")
    entry, marker = warmed.compile("kept", b"1234"), warmed.mark()
    with monkeypatch.context() as patch:
        patch.setattr("warmup.state.nvcc._TIMEOUT_S", 0.3)
        warmed.vector = read_host(warmed.path, nvcc)
    document = run(warmed, capsys)
    assert document["markers"] == document["manifests"] == document["entries"] == []
    assert entry.exists() and marker.exists()
    audit(warmed, families=FAMILIES, json_output=True)
    (judged,) = json.loads(capsys.readouterr().out)["markers"]
    assert judged["state"] == "unjudged" and "nvcc" in judged["reason"]
    warmed.vector = read_host(warmed.path, "echo release 13.0, V13.0.88")
    audit(warmed, families=FAMILIES, json_output=True)
    (judged,) = json.loads(capsys.readouterr().out)["markers"]
    assert judged["state"] == "fresh"
