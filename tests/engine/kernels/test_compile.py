import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from warmup.engine.kernels.compile import main
from warmup.engine.tiny import qwen2_5_vl, qwen2_vl
from warmup.words.errors import EXIT_USAGE


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's config and nothing else."""
    qwen2_5_vl.make(tmp_path / "whole")
    (tmp_path / "config.json").write_bytes((tmp_path / "whole" / "config.json").read_bytes())
    return tmp_path


def _compile(capsys: pytest.CaptureFixture[str], folder: Path, *flags: str) -> dict[str, Any]:
    assert main(["--model", str(folder), *flags]) == 0
    return _read(capsys.readouterr().out)


def _read(out: str) -> dict[str, Any]:
    kernels: dict[str, Any] = json.loads(out)["kernels"]
    return kernels


def test_a_config_is_enough_and_another_process_finds_it_all_compiled(
    folder: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernels = _compile(capsys, folder, "--target", "cuda:90", "--fp8")
    # Norms of the text and the vision width, rotary positions and MLPs of both.
    assert {name: len(hashes) for name, hashes in kernels.items()} == {
        "gated_activation_kernel": 2,
        "rms_norm_kernel": 2,
        "rotary_kernel": 2,
        "quantise_rows_kernel": 1,
    }
    made = {path: path.stat().st_mtime_ns for path in cache.rglob("*.cubin")}
    assert len(made) == 7
    again = subprocess.run(
        [sys.executable, "-m", "warmup.engine.kernels.compile", "--model", str(folder), "--fp8"],
        env={**os.environ, "TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
        timeout=150,
        check=True,
    )
    assert _read(again.stdout) == kernels
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.cubin")} == made


def test_ranks_share_the_work_so_their_kernels_differ(
    folder: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = _compile(capsys, folder, "--dtype", "float32")
    two = _compile(capsys, folder, "--dtype", "float32", "--tp", "2")
    assert one["rms_norm_kernel"] == two["rms_norm_kernel"]
    assert not set(one["rotary_kernel"]) & set(two["rotary_kernel"])


def test_what_cannot_be_is_a_usage_error(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in (("--tp", "3"), ("--target", "cuda"), ("--target", "hip:gfx942")):
        assert main(["--model", str(folder), *flags]) == EXIT_USAGE
        assert capsys.readouterr().err.startswith("error: ")
    assert main(["--model", str(tmp_path / "none")]) == EXIT_USAGE


def test_the_other_family_has_layer_norms_and_no_gate_in_its_vision(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    qwen2_vl.make(tmp_path / "model")
    kernels = _compile(capsys, tmp_path / "model", "--target", "cuda:80")
    assert {name: len(hashes) for name, hashes in kernels.items()} == {
        "gated_activation_kernel": 1,
        "rms_norm_kernel": 1,
        "rotary_kernel": 2,
    }


# Widths: SD3's blocks modulate by joint and single projections, FLUX.2 gates, Qwen-Image norms.
@pytest.mark.parametrize(
    ("family", "kernel"), [("sd3", "norm_modulate_kernel"), ("flux2", "gated_activation_kernel")]
)
def test_diffusion_folders_compile_too(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], family: str, kernel: str
) -> None:
    from warmup.engine.tiny.registry import make_tiny

    folder = make_tiny(family, str(tmp_path / "model"))
    assert kernel in _compile(capsys, folder)
