from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

from warmup.state.distributions import find_package_dir, normalise, read_distributions


def make_dist(folder: Path, name: str, direct_url: object = None) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    if direct_url is not None:
        (path / "direct_url.json").write_text(json.dumps(direct_url))
    return path


def get_versions(*folders: Path) -> dict[str, str]:
    found = read_distributions([str(folder) for folder in folders])
    return {name: distribution.version for name, distribution in found.items()}


def test_it_agrees_with_importlib_metadata_here() -> None:
    found = read_distributions(sys.path)
    expected: dict[str, str] = {}
    for each in importlib.metadata.distributions():
        expected.setdefault(normalise(each.name), each.version)
    assert len(expected) > 10
    assert {name: each.version for name, each in found.items()} == expected


def test_every_kind_of_metadata(tmp_path: Path) -> None:
    make_dist(tmp_path, "Sgl_Deep.GEMM-0.2.5+cu129.dist-info")
    make_dist(tmp_path, "old-1.0-py3.11.egg-info")
    (make_dist(tmp_path, "dev.egg-info") / "PKG-INFO").write_text("Name: dev\nVersion: 7.1\n")
    make_dist(tmp_path, "bare.egg-info")
    (tmp_path / "torch.py").write_text("")
    assert get_versions(tmp_path) == {
        "sgl-deep-gemm": "0.2.5+cu129",
        "old": "1.0",
        "dev": "7.1",
        "bare": "unknown",
    }


def test_the_earlier_folder_wins(tmp_path: Path) -> None:
    make_dist(tmp_path / "venv", "triton-3.9.0.dist-info")
    make_dist(tmp_path / "system", "triton-3.1.0.dist-info")
    make_dist(tmp_path / "system", "numpy-2.0.dist-info")
    folders = (tmp_path / "missing", tmp_path / "venv", tmp_path / "system")
    assert get_versions(*folders) == {"triton": "3.9.0", "numpy": "2.0"}


def test_a_broken_upgrade_is_told(tmp_path: Path) -> None:
    make_dist(tmp_path, "triton-3.9.0.dist-info")
    make_dist(tmp_path, "triton-3.1.0.dist-info")
    assert get_versions(tmp_path) == {"triton": "3.1.0 and 3.9.0"}


def test_editable_installs(tmp_path: Path) -> None:
    source = tmp_path / "my source"
    (source / "python" / "sglang").mkdir(parents=True)
    (source / "python" / "sglang" / "__init__.py").write_text("")
    url = "file://" + str(source).replace(" ", "%20")
    site = tmp_path / "site"
    make_dist(site, "sglang-0.5.dist-info", {"url": url, "dir_info": {"editable": True}})
    make_dist(site, "wheel-1.dist-info", {"url": "file:///x.whl", "archive_info": {}})
    make_dist(site, "odd-1.dist-info", ["no object"])
    found = read_distributions([str(site)])
    assert found["sglang"].editable_source == str(source)
    assert found["wheel"].editable_source is None
    assert found["odd"].editable_source is None
    assert find_package_dir("sglang", [str(site)]) is None
    assert find_package_dir("sglang", [str(site)], found["sglang"]) == str(
        source / "python" / "sglang"
    )


def test_a_package_folder_is_spelled_as_the_path_is(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep_gemm").mkdir(parents=True)
    (tmp_path / "real" / "deep_gemm" / "__init__.py").write_text("")
    (tmp_path / "link").symlink_to("real")
    assert find_package_dir("deep_gemm", [f"{tmp_path}/link"]) == f"{tmp_path}/link/deep_gemm"
