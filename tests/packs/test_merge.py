"""`push --pack`: what several machines warmed becomes one pack, on one that has none of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands.warmed import make_launch
from tests.packs.fleet import Key, Machine, get_document, read_tree
from tests.packs.signers import Signers
from warmup.launch.launch import Launch
from warmup.words.errors import IntegrityError, UsageError

ONE, TWO = make_launch("org/one"), make_launch("org/two")


def make_share(tmp_path: Path, name: str, launch: Launch, **options: Any) -> Machine:
    """A machine that warmed this launch: a kernel of its own, and one that all have."""
    found = Machine(tmp_path / name, launches=(launch,), **options)
    found.compile(name)
    found.compile("shared")
    found.mark()
    return found


@pytest.fixture
def shares(tmp_path: Path) -> tuple[str, str]:
    """Two unsigned packs of one version key."""
    for name, launch in (("one", ONE), ("two", TWO)):
        assert make_share(tmp_path, name, launch).push(f"dir:{tmp_path}/pack-{name}") == 0
    return f"dir:{tmp_path}/pack-one", f"dir:{tmp_path}/pack-two"


@pytest.fixture
def merger(tmp_path: Path) -> Machine:
    """It has no GPU, and nothing is warm there."""
    from tests.commands.warmed import make_vector

    return Machine(tmp_path / "merger", vector=make_vector(torch="2.14"), launches=())


def test_two_shares_become_one_pack(
    tmp_path: Path, shares: tuple[str, str], merger: Machine, reader: Machine, signers: Signers,
    store: str, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    status = signers.push(merger, store, packs=shares, allow_unsigned=True, json_output=True)
    found = get_document(capsys)
    assert (status, found["left_out"], found["signed"]) == (0, {}, True)
    assert found["launches"] == ["org/one:1", "org/two:1"]
    assert found["tag"] == reader.vector.key
    assert {name: each["entries"] for name, each in found["families"].items()} == {
        "deep_gemm": 3, "triton": 3
    }  # fmt: skip
    reader.launches = (ONE, TWO)
    assert reader.pull(store) == 0
    assert all(reader.session.check(launch).is_warm for launch in reader.launches)
    both = read_tree(tmp_path / "one" / "caches") | read_tree(tmp_path / "two" / "caches")
    ours = {name for name in read_tree(reader.root) if not Path(name).name.startswith(".warmup")}
    assert ours == set(both)
    assert not merger.root.exists()
    assert not [path for path in merger.home.path.rglob("*") if "kernel" in path.name]


def test_one_that_holds_all_of_it_is_the_same_pack(
    tmp_path: Path, merger: Machine, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Layers of the same entries are the same, whoever made them."""
    share = make_share(tmp_path, "one", ONE)
    share.push(f"dir:{tmp_path}/pack", json_output=True)
    layers = get_document(capsys)["families"]
    merger.push(store, packs=[f"dir:{tmp_path}/pack"], allow_unsigned=True, json_output=True)
    assert get_document(capsys)["families"] == layers
    blobs = {path.name for path in (tmp_path / "pack" / "blobs" / "sha256").iterdir()}
    again = {path.name for path in (tmp_path / "store" / "blobs" / "sha256").iterdir()}
    assert len(blobs & again) >= 2


def test_of_two_builds_of_one_kernel_the_first_counts(
    tmp_path: Path, shares: tuple[str, str], merger: Machine, reader: Machine, key: Key, store: str
) -> None:
    """nvcc does not give the same bytes twice; a server takes what lies under the key."""
    other = Machine(tmp_path / "three", launches=(make_launch("org/three"),))
    other.compile("shared", cubin=b"\x7fELF another build of it")
    other.mark()
    other.push(f"dir:{tmp_path}/pack-three")
    packs = [*shares, f"dir:{tmp_path}/pack-three"]
    assert merger.push(store, packs=packs, allow_unsigned=True, sign=key.sign) == 0
    reader.launches = (ONE, TWO, *other.launches)
    assert reader.pull(store) == 0
    assert all(reader.session.check(launch).is_warm for launch in reader.launches)


@pytest.mark.parametrize("name", ["shared.autotune.json", "more.cubin"])
def test_what_differs_is_left_out_and_named(
    tmp_path: Path, shares: tuple[str, str], merger: Machine, reader: Machine, key: Key, store: str,
    capsys: pytest.CaptureFixture[str], name: str,
) -> None:  # fmt: skip
    """What an autotuner chose elsewhere, and an entry with other files."""
    packs = list(shares)
    for machine, text in (("three", b"3"), ("four", b"4")):
        other = Machine(tmp_path / machine, launches=(make_launch(f"org/{machine}"),))
        other.compile("tuned")
        if machine == "four" or name.endswith(".json"):
            (other.root / "triton" / "Ktuned" / name).write_bytes(text)
        other.mark()
        packs.append(f"dir:{tmp_path}/pack-{machine}")
        other.push(packs[-1])
    capsys.readouterr()
    options: dict[str, Any] = {"packs": packs, "allow_unsigned": True, "sign": key.sign}
    assert merger.push(store, json_output=True, **options) == 1
    found = get_document(capsys)
    assert found["launches"] == ["org/one:1", "org/two:1", "org/three:1"]
    assert found["left_out"] == {"org/four:1": "another pack has other entries of triton"}
    reader.launches = (ONE, TWO)
    assert reader.pull(store) == 0


def test_packs_of_other_versions_are_not_one(
    tmp_path: Path, shares: tuple[str, str], merger: Machine, store: str
) -> None:
    from tests.commands.warmed import make_vector

    other = make_share(tmp_path, "old", ONE, vector=make_vector(torch="2.12"))
    other.push(f"dir:{tmp_path}/pack-old")
    with pytest.raises(UsageError, match="are for different versions"):
        merger.push(store, packs=[*shares, f"dir:{tmp_path}/pack-old"], allow_unsigned=True)
    assert not (tmp_path / "store" / "index.json").exists()


def test_what_is_merged_is_judged_as_what_is_pulled(
    tmp_path: Path, shares: tuple[str, str], merger: Machine, store: str
) -> None:
    with pytest.raises(IntegrityError) as caught:
        merger.push(store, packs=shares)
    assert "rule `signed`" in (caught.value.cause or "")
    merger.environ["CI"] = "true"
    with pytest.raises(UsageError, match="refused where CI=true"):
        merger.push(store, packs=shares, allow_unsigned=True)
    merger.packs["allow_unsigned"] = True
    assert merger.push(store, packs=shares, allow_unsigned=True) == 0


def test_a_layer_that_is_not_what_its_pack_says_ends_it(
    tmp_path: Path, shares: tuple[str, str], merger: Machine, store: str
) -> None:
    folder = tmp_path / "pack-two"
    (image,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    blobs = folder / "blobs" / "sha256"
    manifest = json.loads((blobs / image["digest"].partition(":")[2]).read_bytes())
    for layer in manifest["layers"][1:]:
        path = blobs / layer["digest"].partition(":")[2]
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(data)
    with pytest.raises(IntegrityError):
        merger.push(store, packs=shares, allow_unsigned=True)
    assert not list(merger.home.path.glob(".push-*"))


@pytest.mark.parametrize("count", [0, 2])
def test_a_store_of_several_packs_wants_a_tag(
    tmp_path: Path, writer: Machine, merger: Machine, store: str, count: int
) -> None:
    (tmp_path / "many").mkdir()
    for number in range(count):
        writer.push(f"dir:{tmp_path}/many:t{number}")
    with pytest.raises(UsageError, match=f"holds {count} packs"):
        merger.push(store, packs=[f"dir:{tmp_path}/many"], allow_unsigned=True)
    if count:
        packs = [f"dir:{tmp_path}/many:t0"]
        assert merger.push(store, packs=packs, allow_unsigned=True) == 0


def test_a_flag_without_packs_is_told(writer: Machine, store: str) -> None:
    with pytest.raises(UsageError, match="--allow-unsigned is of --pack"):
        writer.push(store, allow_unsigned=True)
