"""Images for KServe's kernel caches: as the Model Cache Vault makes and reads them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.caches.caches import compile_triton
from tests.packs import fleet
from tests.packs.fleet import Key, Machine, get_document, read_tree
from tests.packs.registries import serve_registry
from warmup.packs import oci
from warmup.packs.layout import LayoutStore
from warmup.words.errors import IntegrityError, WarmupError

KERNEL = {"hash": "aa" * 32, "target": {"backend": "cuda", "arch": 90, "warp_size": 32}}
FILES = {
    "io.triton.cache/KA/add.cubin": b"\x7fELFcubin",
    "io.triton.cache/KA/add.json": json.dumps(KERNEL).encode(),
    "io.triton.cache/KA/__grp__add.json": json.dumps(
        {"child_paths": {"add.cubin": "/home/mcv/KA/add.cubin"}}
    ).encode(),
    "io.triton.manifest/manifest.json": b'{"triton": []}',
}
SUMMARY = '{"targets":[{"backend":"cuda","arch":"90","warp_size":32}]}'


def make_image(store: str, files: Mapping[str, bytes], **labels: str) -> str:
    """As `mcv -c` builds it with Docker: schema 2, one layer, folders of their own. Returns the
    reference."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        folders: set[str] = set()
        for path, data in files.items():
            for parent in reversed(
                [str(p) for p in Path(path).parents if str(p) not in (".", "/")]
            ):
                if parent not in folders and ".." not in parent:
                    info = tarfile.TarInfo(f"{parent}/")
                    info.type, info.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(info)
                folders.add(parent)
            info = tarfile.TarInfo(path)
            info.size, info.mode, info.mtime = len(data), 0o644, 1_700_000_000
            archive.addfile(info, io.BytesIO(data))
    layer = gzip.compress(raw.getvalue())
    size = sum(len(data) for path, data in files.items() if path.startswith("io.triton.cache/"))
    told = {"entry-count": "1", "summary": SUMMARY, "cache-size-bytes": str(size), **labels}
    config = {
        "architecture": "amd64",
        "created": "2026-08-20T00:00:00.123456789Z",
        "os": "linux",
        "config": {"Labels": {f"cache.triton.image/{k}": v for k, v in told.items()}},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(raw.getvalue()).hexdigest()}"],
        },
    }
    found = LayoutStore("dir", store.removeprefix("dir:"), create=True)
    described = []
    kind = "application/vnd.docker.container.image.v1+json"
    for media_type, data in ((kind, json.dumps(config).encode()), (oci.DOCKER_LAYER_TYPE, layer)):
        blob = oci.describe(media_type, data)
        found.write_blob(blob, lambda data=data: io.BytesIO(data))  # type: ignore[misc]
        described.append(blob)
    manifest = oci.encode(
        oci.ImageManifest(
            media_type=oci.DOCKER_MANIFEST_TYPE, config=described[0], layers=described[1:]
        )
    )
    found.write_manifest(manifest, oci.DOCKER_MANIFEST_TYPE, "mcv")
    return f"{store}:mcv"


def test_an_image_of_mcv_is_a_seed(
    reader: Machine, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = make_image(store, FILES)
    assert reader.pull(reference, allow_unsigned=True, json_output=True) == 0
    found = get_document(capsys)
    assert found["families"]["triton"]["placed"] == 1
    assert (found["launches"][0]["state"], found["fetched_layers"]) == ("seed", 1)
    assert list(reader.home.markers.iterdir()) == []
    placed = read_tree(reader.root)
    del placed[".warmup-ci-pull.lock"]
    group = json.loads(placed.pop("triton/KA/__grp__add.json"))["child_paths"]
    assert group == {"add.cubin": str(reader.root / "triton/KA/add.cubin")}
    assert placed == {
        path.replace("io.triton.cache", "triton"): data
        for path, data in FILES.items()
        if path.startswith("io.triton.cache/") and "__grp__" not in path
    }
    assert reader.pull(reference, allow_unsigned=True, json_output=True) == 0
    assert get_document(capsys)["families"]["triton"] == {
        "entries": 1, "placed": 0, "same": 1, "differing": 0, "left_out": 0
    }  # fmt: skip


def test_it_is_refused_without_a_signature(reader: Machine, store: str) -> None:
    with pytest.raises(IntegrityError, match="pack refused"):
        reader.pull(make_image(store, FILES))
    assert not reader.root.exists()


@pytest.mark.parametrize(
    ("files", "labels", "cause"),
    [
        (FILES, {"cache-size-bytes": "1"}, "its label says 1 bytes of cache, its layer has"),
        (FILES, {"cache-size-bytes": "many"}, "cannot be read"),
        (FILES, {"cache-size-bytes": "-1"}, "cannot be read"),
        (FILES, {"summary": "[[[["}, "cannot be read"),
        ({**FILES, "io.triton.cache/../../x": b"1"}, {}, "leads outside"),
        ({**FILES, "/io.triton.cache/x": b"1"}, {}, "is not a relative path"),
        ({**FILES, "io.triton.cache/KA/%41": b"1"}, {}, "is not a plain name"),
    ],
)
def test_what_lies_or_leads_out_is_refused(
    reader: Machine, store: str, files: Mapping[str, bytes], labels: dict[str, str], cause: str
) -> None:
    reference = make_image(store, files, **labels)
    with pytest.raises(IntegrityError) as caught:
        reader.pull(reference, allow_unsigned=True)
    assert cause in (caught.value.cause or "")
    assert not list(reader.root.rglob("*.cubin"))


def test_another_gpu_s_is_told(reader: Machine, store: str) -> None:
    for summary in (SUMMARY.replace("90", "100"), SUMMARY.replace("cuda", "hip")):
        with pytest.raises(WarmupError, match="for another GPU"):
            reader.pull(make_image(store, FILES, summary=summary), allow_unsigned=True)
    assert not reader.root.exists()


@pytest.mark.needs("skopeo", "umoci")
def test_what_is_pushed_is_what_mcv_extracts(
    writer: Machine, reader: Machine, key: Key, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kernel that Triton compiled; through a registry; held against what MCV looks at."""
    compile_triton(writer.root / "triton", "add", source=tmp_path / "add.py")
    writer.mark()
    with serve_registry(tmp_path / "registry") as host:
        for machine in (writer, reader):
            machine.packs["insecure_registries"] = [host]
        capsys.readouterr()
        writer.push(f"oci://{host}/a:main", sign=key.sign, mcv=True, json_output=True)
        reference = get_document(capsys)["mcv"]["triton"]
        image = reference.removeprefix("oci://").partition("@")[0]
        layout = f"oci:{tmp_path}/layout:main"
        run("skopeo", "copy", "--src-tls-verify=false", f"docker://{image}", layout)
        assert reader.pull(reference, json_output=True) == 0  # signed as the pack is
        assert get_document(capsys)["families"]["triton"]["placed"] == 2
    told = json.loads(run("skopeo", "inspect", layout))
    assert len(told["Layers"]) == 1
    run("umoci", "unpack", "--rootless", "--image", layout[4:], f"{tmp_path}/bundle")
    unpacked = read_tree(tmp_path / "bundle/rootfs")
    manifest = json.loads(unpacked.pop("io.triton.manifest/manifest.json"))
    assert {path.replace("io.triton.cache/", ""): data for path, data in unpacked.items()} == (
        read_tree(writer.root / "triton")
    )
    labels = {k.rpartition("/")[2]: v for k, v in told["Labels"].items() if "triton.image" in k}
    assert labels.pop("cache-size-bytes") == str(sum(map(len, unpacked.values())))
    assert json.loads(labels.pop("summary")) == json.loads(SUMMARY)
    assert labels == {"entry-count": "1"}
    (kernel,) = manifest["triton"]
    real = json.loads(next((writer.root / "triton").glob("*/add.json")).read_bytes())
    assert kernel["hash"] == real["hash"]
    assert (kernel["backend"], kernel["arch"], kernel["warp_size"]) == ("cuda", "90", 32)
    assert (kernel["num_warps"], kernel["num_stages"]) == (real["num_warps"], real["num_stages"])


def test_a_cache_of_vllm(
    writer: Machine, reader: Machine, key: Key, store: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """In the layouts that vLLM 0.33 leaves: artifacts of a rank, and a bundle per rank."""
    root = writer.root / "vllm" / "torch_compile_cache"
    factors = {"code_hash": "c", "env": {"VLLM_TARGET_DEVICE": "cuda", "VLLM_API_KEY": "s3cret"}}
    for path, data in {
        "d4ec7c2a7d/rank_0_0/backbone/cache_key_factors.json": json.dumps(factors).encode(),
        "d4ec7c2a7d/rank_0_0/backbone/artifact_compile_range_1_8": b"artifact",
        "torch_aot_compile/feed/rank_0_0/model": b"bundle",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    monkeypatch.setattr(fleet, "FAMILIES", ("vllm", *fleet.FAMILIES))
    writer.mark()
    capsys.readouterr()
    writer.push(f"{store}:main", sign=key.sign, mcv=True, json_output=True)
    reference = get_document(capsys)["mcv"]["vllm"]
    layout = LayoutStore("dir", store.removeprefix("dir:"), create=False)
    found = layout.read_manifest(reference.rpartition("@")[2])
    assert found is not None
    image = oci.decode(found[1], oci.ImageManifest, "manifest")
    config = json.loads(b"".join(layout.read_blob(image.config)))["config"]["Labels"]
    assert config["cache.vllm.image/format"] == "binary"
    assert config["io.kserve.km/cache-hash"] == "d4ec7c2a7d,feed"
    assert config["io.kserve.km/cache-root-env"] == f"VLLM_CACHE_ROOT={writer.root}/vllm"
    assert json.loads(config["cache.vllm.image/summary"])["targets"][0]["arch"] == "sm_90"
    layer = gzip.decompress(b"".join(layout.read_blob(image.layers[0])))
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        file = archive.extractfile("io.vllm.manifest/manifest.json")
        assert file is not None
        text = file.read()
    assert b"s3cret" not in text
    entries = json.loads(text)["vllm"]
    assert [(each["vllmHash"], each["cacheFormat"]) for each in entries] == [
        ("d4ec7c2a7d", "binary"), ("feed", "binary"),
    ]  # fmt: skip
    assert entries[0]["binary"][0]["artifact_names"] == ["artifact_compile_range_1_8"]
    assert entries[1]["binary"][0]["cache_save_format"] == "mega-aot"
    reader.pull(reference)
    assert read_tree(reader.root / "vllm") == read_tree(writer.root / "vllm")


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout
