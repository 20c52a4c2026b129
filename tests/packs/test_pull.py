"""What one machine pushes, another pulls: every byte, time and mode; a marker of its own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tests.caches.hazards.test_libraries import link
from tests.commands.warmed import make_launch, make_vector
from tests.packs import fleet
from tests.packs.fleet import Key, Machine, get_document, read_tree
from warmup.caches.api import get_variables
from warmup.commands.why import why
from warmup.packs.pull_document import NoPack
from warmup.state.marker import Marker
from warmup.state.marker_files import list_markers
from warmup.words.errors import HostError, IntegrityError, UsageError, WarmupError


def list_marks(machine: Machine) -> list[Marker]:
    return [each for each in list_markers(machine.home) if isinstance(each, Marker)]


def test_a_pull_brings_every_file_and_one_marker(
    writer: Machine, reader: Machine, key: Key, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert writer.push(store, sign=key.sign, json_output=True) == 0
    pushed = get_document(capsys)
    assert reader.pull(store, json_output=True) == 0
    pulled = get_document(capsys)
    assert pulled["digest"] == pushed["digest"]
    assert pulled["signer"]["name"] == "writer@example"
    assert [each["state"] for each in pulled["launches"]] == ["warm"]
    before, after = read_tree(writer.root), read_tree(reader.root)
    after.pop(".warmup-ci-pull.lock")
    group = "triton/Kfp8_gemm/__grp__fp8_gemm.json"
    children = json.loads(after.pop(group))["child_paths"]
    assert set(children.values()) == {str(reader.root / "triton/Kfp8_gemm" / n) for n in children}
    assert len(children) == len(json.loads(before.pop(group))["child_paths"])
    assert after == before
    for name in (*before, group):
        one, other = (writer.root / name).stat(), (reader.root / name).stat()
        assert one.st_mtime_ns == other.st_mtime_ns
    (marker,) = list_marks(reader)
    assert marker.warmed_by == f"pack@{pushed['digest']}"
    assert not marker.proven  # the policy does not say that the signer's proof counts
    assert reader.session.check(reader.launches[0]).is_warm


def test_a_proof_counts_where_the_policy_says_so(
    writer: Machine, reader: Machine, key: Key, store: str
) -> None:
    writer.push(store, sign=key.sign)
    reader.packs["trust_proof"] = True
    reader.pull(store)
    assert [marker.proven for marker in list_marks(reader)] == [True]


def test_the_same_push_sends_nothing_and_has_the_same_digest(
    writer: Machine, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.push(store, json_output=True)
    first = get_document(capsys)
    writer.push(store, json_output=True)
    second = get_document(capsys)
    assert first["digest"] == second["digest"]
    assert first["sent_bytes"] > 0
    assert second["sent_bytes"] == 0


def test_what_a_killed_push_left_goes_with_the_next(writer: Machine, store: str) -> None:
    left = writer.home.path / ".push-killed"
    left.mkdir()
    (left / "layer").write_bytes(b"x")
    writer.push(store)
    assert not list(writer.home.path.glob(".push-*"))


def test_one_new_entry_sends_and_fetches_one_layer(
    writer: Machine, reader: Machine, key: Key, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.push(store, sign=key.sign)
    reader.pull(store, json_output=False)
    folder = writer.root / "triton" / "Knew"
    folder.mkdir()
    (folder / "new.cubin").write_bytes(b"x" * 1000)
    writer.mark()
    capsys.readouterr()
    writer.push(store, sign=key.sign, json_output=True)
    families = get_document(capsys)["families"]
    assert {name for name, each in families.items() if each["sent"]} == {"triton"}
    reader.pull(store, json_output=True)
    pulled = get_document(capsys)
    assert pulled["fetched_layers"] == 1
    assert pulled["families"]["triton"]["placed"] == 1
    assert pulled["families"]["deep_gemm"]["placed"] == 0
    assert (reader.root / "triton" / "Knew" / "new.cubin").read_bytes() == b"x" * 1000


def test_a_second_pull_fetches_nothing(
    writer: Machine, reader: Machine, key: Key, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.push(store, sign=key.sign)
    reader.pull(store)
    before = {path: path.stat().st_ctime_ns for path in reader.root.rglob("*.cubin")}
    capsys.readouterr()
    reader.pull(store, json_output=True)
    assert get_document(capsys)["fetched_bytes"] == 0
    assert {path: path.stat().st_ctime_ns for path in before} == before


def test_what_was_lost_here_comes_back_from_the_home_not_the_store(
    writer: Machine, reader: Machine, key: Key, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.push(store, sign=key.sign)
    reader.pull(store)
    (reader.root / "deep_gemm/cache").rename(reader.path / "gone")
    assert not reader.session.check(reader.launches[0]).is_warm
    capsys.readouterr()
    reader.pull(store, json_output=True)
    found = get_document(capsys)
    assert found["fetched_bytes"] == 0
    assert found["families"]["deep_gemm"]["placed"] == 1
    assert reader.session.check(reader.launches[0]).is_warm


def test_one_ingredient_off_is_a_seed_and_why_names_it(
    writer: Machine, reader: Machine, key: Key, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.push(f"{store}:main", sign=key.sign)
    reader.vector = make_vector(torch="2.14", compute_capability="9.0", gpu_name="H200")
    capsys.readouterr()
    reader.pull(f"{store}:main", json_output=True)
    (launch,) = get_document(capsys)["launches"]
    assert (launch["state"], launch["reason"]) == ("seed", "torch 2.13 → 2.14")
    check = reader.session.check(reader.launches[0])
    assert (check.state, check.is_warm) == ("seeded", False)
    assert "torch 2.13 → 2.14" in check.reason
    assert why(reader.session, json_output=True) == 1
    document = get_document(capsys)
    assert document["state"] == "seeded"
    assert [each["name"] for each in document["changes"]] == ["torch"]


def test_two_ingredients_off_are_a_seed_without_a_marker(
    writer: Machine, reader: Machine, key: Key, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.push(f"{store}:main", sign=key.sign)
    reader.vector = make_vector(torch="2.14", compute_capability="9.0", gpu_name="H100")
    capsys.readouterr()
    reader.pull(f"{store}:main", json_output=True)
    (launch,) = get_document(capsys)["launches"]
    assert launch["state"] == "seed"
    assert list_marks(reader) == []
    assert (reader.root / "deep_gemm/cache").is_dir()


def test_another_gpu_s_pack_is_told_and_unpacks_nothing(
    writer: Machine, reader: Machine, key: Key, store: str
) -> None:
    writer.push(f"{store}:main", sign=key.sign)
    reader.vector = make_vector(torch="2.13", compute_capability="10.0", gpu_name="B200")
    with pytest.raises(NoPack, match="for another GPU") as caught:  # `run --from` goes on
        reader.pull(f"{store}:main")
    assert caught.value.cause == "it was made for H200 (9.0), here is 10.0"
    assert not reader.root.exists()


def test_the_folder_that_is_full_is_named(
    writer: Machine, reader: Machine, key: Key, store: str
) -> None:
    """The home, where layers are kept, and the cache root may lie on different disks."""
    (writer.root / "triton" / "Kfp8_gemm" / "fp8_gemm.cubin").write_bytes(os.urandom(1 << 20))
    writer.mark()
    writer.push(store, sign=key.sign)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, before[1]))
    try:
        with pytest.raises(HostError) as caught:
            reader.pull(store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.what == f"cannot keep layers in {reader.home.path}/packs/blobs"
    assert not list(reader.root.rglob("*.cubin"))


def test_what_was_tuned_on_another_gpu_is_left_out(
    writer: Machine, reader: Machine, key: Key, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = writer.root / "triton" / "KT"
    tuned.mkdir()
    (tuned / "add.autotune.json").write_text("{}")
    writer.mark()
    writer.push(f"{store}:main", sign=key.sign)
    reader.vector = make_vector(torch="2.13", compute_capability="9.0", gpu_name="H100")
    capsys.readouterr()
    reader.pull(f"{store}:main", json_output=True)
    assert get_document(capsys)["families"]["triton"]["left_out"] == 1
    assert not (reader.root / "triton" / "KT").exists()


def test_a_missing_version_key_names_what_there_is(
    writer: Machine, reader: Machine, key: Key, store: str
) -> None:
    writer.push(f"{store}:main", sign=key.sign)
    with pytest.raises(WarmupError, match="there is no pack") as caught:
        reader.pull(store)
    assert "there are main" in (caught.value.cause or "")


def test_another_launch_is_absent(
    writer: Machine, reader: Machine, key: Key, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.push(store, sign=key.sign)
    reader.launches = (make_launch(), make_launch(tp=2))
    capsys.readouterr()
    reader.pull(store, json_output=True)
    states = [each["state"] for each in get_document(capsys)["launches"]]
    assert states == ["warm", "absent"]


def test_a_launch_that_is_cold_is_left_out_of_a_push(
    writer: Machine, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.launches = (make_launch(), make_launch(tp=2))
    assert writer.push(store, json_output=True) == 1
    assert list(get_document(capsys)["left_out"]) == ["org/model:2"]
    writer.launches = (make_launch(tp=2),)
    with pytest.raises(WarmupError, match="nothing to push"):
        writer.push(store)


def test_an_entry_that_changed_under_its_time_is_not_signed(
    writer: Machine, store: str, key: Key
) -> None:
    path = next(writer.root.rglob("kernel.cubin"))
    status, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns))
    with pytest.raises(IntegrityError, match=r"kernel\.cubin is not what was warmed"):
        writer.push(store, sign=key.sign)
    assert not Path(store.removeprefix("dir:"), "index.json").exists()


def test_what_a_marker_here_needs_stays_and_other_damage_is_mended(
    writer: Machine, reader: Machine, key: Key, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.push(store, sign=key.sign)
    mine = reader.compile(cubin=b"mine")
    reader.launches = (make_launch(tp=2), *reader.launches)
    reader.mark(reader.launches[0])
    capsys.readouterr()
    reader.pull(store, json_output=True)
    found = get_document(capsys)
    assert found["families"]["deep_gemm"]["differing"] == 1
    assert [each["state"] for each in found["launches"]] == ["warm", "seed"]
    assert (mine / "kernel.cubin").read_bytes() == b"mine"
    assert reader.session.check(reader.launches[0]).is_warm
    for marker in reader.home.markers.iterdir():
        marker.unlink()
    reader.pull(store, json_output=True)
    found = get_document(capsys)
    assert found["families"]["deep_gemm"]["placed"] == 1
    assert [each["state"] for each in found["launches"]] == ["absent", "warm"]
    assert (mine / "kernel.cubin").read_bytes() != b"mine"


def test_a_launch_that_puts_a_family_elsewhere_gets_no_marker(
    writer: Machine, reader: Machine, key: Key, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.push(store, sign=key.sign)
    elsewhere = str(reader.path / "elsewhere")
    capsys.readouterr()
    session = replace(
        reader.session,
        get_own_env=lambda launch: {**reader.session.env, "TRITON_CACHE_DIR": elsewhere},
    )
    from warmup.commands.pull import pull

    pull(session, reference=store, json_output=True)
    (launch,) = get_document(capsys)["launches"]
    assert launch["state"] == "seed"
    assert f"this launch puts it at {elsewhere}" in launch["reason"]


def test_two_pulls_at_once_both_end_well(
    writer: Machine, tmp_path: Path, policy: dict[str, object], key: Key, store: str
) -> None:
    """Two homes, one cache root."""
    writer.push(store, sign=key.sign)
    readers = [Machine(tmp_path / name, packs=policy) for name in ("one", "two")]
    readers[1].root = readers[0].root
    threads = [threading.Thread(target=each.pull, args=(store,)) for each in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(each.session.check(each.launches[0]).is_warm for each in readers)
    assert not [path for path in readers[0].root.iterdir() if ".warmup-ci-pull-" in path.name]


def test_pull_needs_a_cache_root(reader: Machine, store: str) -> None:
    from warmup.commands.pull import pull

    with pytest.raises(UsageError, match="one folder for all caches"):
        pull(replace(reader.session, cache_root=""), reference=store)


def test_each_store_of_a_family_comes_to_where_its_server_looks(
    writer: Machine,
    reader: Machine,
    key: Key,
    store: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """sglang's kernels were pulled into TVM's folder, and called warm. Its tuning results, to which
    a later server adds, are packed as they are."""
    tuned = "flashinfer/autotune/0.7.2/sm90/0a/rank_tp0_pp0_dp0.json"
    files = {
        ("TVM_FFI_CACHE_DIR", "mod_0a/mod.so"),
        ("SGLANG_JIT_CACHE_DIR", "sm_90/awq/build-k/deps-d/awq.so"),
        ("FLASH_ATTENTION_CUTE_DSL_CACHE_DIR", "fingerprint/0a.o"),
        ("SGLANG_CACHE_DIR", tuned),
    }
    for variable, name in files:
        path = Path(get_variables(writer.root)[variable], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    families = ("cute_dsl", "flashinfer_autotune", "tvm_ffi", *fleet.FAMILIES)
    monkeypatch.setattr(fleet, "FAMILIES", families)
    writer.mark()
    Path(get_variables(writer.root)["SGLANG_CACHE_DIR"], tuned).write_text('{"added": 1}')
    assert writer.push(store, sign=key.sign) == 0
    capsys.readouterr()
    reader.pull(store, json_output=True)
    assert get_document(capsys)["launches"][0]["state"] == "warm"
    for variable, name in files:
        pulled = Path(get_variables(reader.root)[variable], name)
        assert pulled.read_text() == ('{"added": 1}' if name == tuned else "{}")
    assert reader.session.check(reader.launches[0]).is_warm


def test_a_library_whose_needs_are_not_here_is_named_as_lost(
    writer: Machine,
    reader: Machine,
    key: Key,
    store: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    needed = link(tmp_path / "image" / "libgone.so.8", "int dep(void) { return 1; }")
    search = (f"-L{needed.parent}", f"-l:{needed.name}")
    launcher = writer.root / "triton" / "KEY" / "__triton_launcher.so"
    link(launcher, "int dep(void); int use(void) { return dep(); }", *search)
    writer.mark()
    writer.push(store, sign=key.sign)
    capsys.readouterr()
    reader.environ = {"PATH": str(Path(sys.executable).parent)}
    reader.pull(store, json_output=True)
    found = get_document(capsys)
    (lost,) = found["lost"]
    assert lost["family"] == "triton" and "libgone.so.8" in lost["reason"]
    assert found["launches"][0]["state"] != "warm"


def test_a_build_of_ninja_that_moved_is_named_as_lost(
    writer: Machine,
    reader: Machine,
    key: Key,
    store: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = writer.root / "flashinfer/.cache/flashinfer"
    module = root / "0.7/90a/cached_ops/norm"
    module.mkdir(parents=True)
    (module / "norm.so").write_bytes(b"so")
    (module / "build.ninja").write_text(f"build {module}/norm.so: link\n")
    (module / ".ninja_log").write_text("# ninja log v6\n")
    monkeypatch.setattr(fleet, "FAMILIES", ("flashinfer", *fleet.FAMILIES))
    writer.mark()
    writer.push(store, sign=key.sign)
    capsys.readouterr()
    reader.pull(store, json_output=True)
    found = get_document(capsys)
    (lost,) = found["lost"]
    assert lost["family"] == "flashinfer"
    assert "ninja rebuilds it" in lost["reason"]
    assert found["launches"][0]["state"] == "seed"
    copied = reader.root / "flashinfer/.cache/flashinfer/0.7/90a/cached_ops/norm"
    assert (copied / ".ninja_log").read_text() == "# ninja log v6\n"
    # At the same path, nothing is lost.
    writer.root.rename(tmp := writer.path / "aside")
    assert tmp.is_dir()
    reader.root = writer.root
    for marker in reader.home.markers.iterdir():
        marker.unlink()
    reader.pull(store, json_output=True)
    found = get_document(capsys)
    assert found["lost"] == []
    assert found["launches"][0]["state"] == "warm"


@pytest.mark.needs("ninja")
def test_ninja_has_nothing_to_do_after_the_trip(
    writer: Machine, reader: Machine, key: Key, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its times to the nanosecond and its log, at the same path; without the log it builds."""
    module = writer.root / "flashinfer/.cache/flashinfer/0.7/90a/cached_ops/norm"
    module.mkdir(parents=True)
    (module / "norm.cu").write_text("// source")
    (module / "build.ninja").write_text(
        f"rule copy\n  command = cp $in $out\nbuild {module}/norm.so: copy {module}/norm.cu\n"
    )
    run_ninja(module)
    monkeypatch.setattr(fleet, "FAMILIES", ("flashinfer", *fleet.FAMILIES))
    writer.mark()
    writer.push(store, sign=key.sign)
    writer.root.rename(writer.path / "aside")
    reader.root = writer.root
    reader.pull(store)
    assert "no work to do" in run_ninja(module)
    (module / ".ninja_log").unlink()
    assert "norm.so" in run_ninja(module, "-v")


def run_ninja(folder: Path, *options: str) -> str:
    command = ["ninja", "-C", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout
