"""A pack that is mounted: copied from, never written to, and nothing believed but digests."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import shutil
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.caches.caches import write_deep_jit
from tests.commands.program import call_with_mounts
from tests.packs.fleet import Key, Machine, get_document
from tests.packs.test_run import make_place
from tests.packs.test_run import run as run_program
from warmup.commands.pull import pull
from warmup.commands.push import push
from warmup.commands.verify import verify
from warmup.packs import oci
from warmup.packs.layout import LayoutStore
from warmup.packs.store import list_pack_tags
from warmup.words.errors import IntegrityError, UsageError, WarmupError


def mount(store: str, into: Path) -> str:
    """The image's file system, as a container runtime makes it. Returns the reference."""
    layout = LayoutStore("dir", store.removeprefix("dir:"), create=False)
    (tag,) = list_pack_tags(layout)
    found = layout.read_manifest(tag)
    assert found is not None
    for layer in oci.decode(found[1], oci.ImageManifest, "manifest").layers:
        with tarfile.open(fileobj=io.BytesIO(b"".join(layout.read_blob(layer)))) as archive:
            archive.extractall(into, filter="data")
    return f"root:{into}"


@pytest.fixture
def mounted(writer: Machine, store: str, key: Key, tmp_path: Path) -> str:
    writer.push(store, sign=key.sign)
    return mount(store, tmp_path / "mounted")


def test_what_is_mounted_is_copied(
    reader: Machine, writer: Machine, mounted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert reader.pull(mounted, allow_unsigned=True, json_output=True) == 0
    found = get_document(capsys)
    assert (found["launches"][0]["state"], found["fetched_bytes"]) == ("warm", 0)
    for path in (path for path in reader.root.rglob("*.cubin")):
        name = path.relative_to(reader.root)
        source = Path(mounted.removeprefix("root:")) / name
        assert (path.stat().st_nlink, path.stat().st_ino != source.stat().st_ino) == (1, True)
        assert path.read_bytes() == source.read_bytes()
        assert path.stat().st_mtime_ns == (writer.root / name).stat().st_mtime_ns
    assert reader.pull(mounted, allow_unsigned=True, json_output=True) == 0
    assert get_document(capsys)["families"]["triton"]["same"] == 1
    assert verify(reader.session, reference=mounted, allow_unsigned=True) == 0


def test_it_is_nobody_s_signature(reader: Machine, mounted: str) -> None:
    with pytest.raises(IntegrityError) as caught:
        reader.pull(mounted)
    assert "rule `signed`" in (caught.value.cause or "")
    reader.environ["CI"] = "true"
    with pytest.raises(UsageError, match="refused where CI=true"):
        reader.pull(mounted, allow_unsigned=True)
    assert not reader.root.exists()


@pytest.mark.parametrize("damage", ["other", "longer", "gone", "link"])
def test_what_is_not_as_listed_is_refused(
    reader: Machine, mounted: str, tmp_path: Path, damage: str
) -> None:
    cubin = next(Path(mounted.removeprefix("root:")).rglob("kernel.cubin"))
    data = cubin.read_bytes()
    cubin.unlink()
    if damage == "link":
        (tmp_path / "elsewhere").write_bytes(data)
        cubin.symlink_to(tmp_path / "elsewhere")
    elif damage != "gone":
        cubin.write_bytes(data[:-1] + b"x" if damage == "other" else data + b"x")
    with pytest.raises(IntegrityError):
        reader.pull(mounted, allow_unsigned=True)
    assert not list(reader.root.rglob("kernel.cubin"))


def test_it_cannot_be_pushed_to_nor_be_anything_else(
    writer: Machine, reader: Machine, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="can only be pulled from"):
        push(writer.session, reference=f"root:{tmp_path}/empty")
    with pytest.raises(WarmupError, match="not a pack"):
        reader.pull(f"root:{tmp_path}/empty", allow_unsigned=True)
    with pytest.raises(WarmupError, match="there is no folder"):
        reader.pull(f"root:{tmp_path}/nowhere", allow_unsigned=True)


def test_a_reflink_is_asked_for_and_done_without(
    reader: Machine, mounted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This file system may have none; one that has shares the bytes, which are hashed all the
    same: here the kernel's answer is played, byte for byte."""
    asked: list[int] = []

    def clone(to: int, request: int, source: int) -> int:
        assert request == 0x40049409
        asked.append(to)
        if len(asked) % 2:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return os.copy_file_range(source, to, 1 << 30) * 0

    monkeypatch.setattr(fcntl, "ioctl", clone)
    assert reader.pull(mounted, allow_unsigned=True) == 0
    assert len(asked) > 3
    assert reader.session.check(reader.launches[0]).is_warm


def test_what_every_server_reads_itself_is_not_copied(
    writer: Machine, reader: Machine, key: Key, store: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """DeepGEMM's list of roots, own:shared; entries as sgl-deep-gemm 0.2 leaves them."""
    shutil.rmtree(writer.root / "deep_gemm")
    write_deep_jit(writer.root / "deep_gemm", "/include")
    writer.mark()
    writer.push(store, sign=key.sign)
    mounted = mount(store, tmp_path / "mounted")
    listed = f"{reader.root}/deep_gemm:{tmp_path}/mounted/deep_gemm"
    session = replace(
        reader.session,
        get_own_env=lambda launch: {
            **reader.session.env, "DG_JIT_CACHE_DIR": listed, "SGLANG_DG_CACHE_DIR": listed
        },
    )  # fmt: skip
    capsys.readouterr()
    assert pull(session, reference=mounted, allow_unsigned=True, json_output=True) == 0
    found = get_document(capsys)
    assert found["families"]["deep_gemm"]["same"] == 1
    assert found["launches"][0]["state"] == "warm"
    assert not (reader.root / "deep_gemm").exists()
    assert session.check(session.launches[0]).is_warm
    # Who does not list it gets a copy.
    assert reader.pull(mounted, allow_unsigned=True) == 0
    assert list((reader.root / "deep_gemm").rglob("kernel.cubin"))


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
def test_a_mount_that_is_read_only(tmp_path: Path, key: Key) -> None:
    """As an image volume is: nobody can write there, we least of all."""
    store, one, two = f"dir:{tmp_path}/store", tmp_path / "one", tmp_path / "two"
    make_place(one, key)
    make_place(two, key)
    assert run_program(one, "--to", store, "--sign", key.sign).returncode == 0
    volume = mount(store, tmp_path / "volume").removeprefix("root:")
    pull = f"{sys.executable} -m warmup pull root:{volume} --workflow workflow.toml"
    bind = f"mount --bind {volume} {volume} && mount -o remount,bind,ro {volume}"
    script = f"{bind} && ! touch {volume}/x && {pull} --allow-unsigned --json"
    done = call_with_mounts(two, script)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["launches"][0]["state"] == "warm"
    assert not [path for path in Path(volume).rglob("*") if ".warmup-ci-pull" in path.name]
