from collections import Counter
from pathlib import Path

import pytest

from warmup.engine.kernels.aot import compile_launch, list_launches, parse_target
from warmup.engine.tiny import qwen2_5_vl, qwen2_vl
from warmup.words.errors import UsageError

H200 = parse_target("cuda:90")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's config and nothing else."""
    qwen2_5_vl.make(tmp_path / "whole")
    (tmp_path / "config.json").write_bytes((tmp_path / "whole" / "config.json").read_bytes())
    return tmp_path


def count(folder: Path, tp: int = 1, *, use_fp8: bool = False) -> Counter[str]:
    found = list_launches(str(folder), tp, use_fp8=use_fp8, target=H200)
    return Counter(each["name"] for each in found)


def test_a_config_is_enough_and_everything_listed_compiles(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("TRITON_CACHE_DIR", str(cache))
    # Norms of the text and the vision width, rotary positions and MLPs of both.
    assert count(folder, use_fp8=True) == {
        "gated_activation_kernel": 2,
        "rms_norm_kernel": 2,
        "rotary_kernel": 2,
        "quantise_rows_kernel": 1,
    }
    launches = list_launches(str(folder), 1, use_fp8=True, target=H200)
    made = [compile_launch(**each, target=H200) for each in launches]
    assert len({each["hash"] for each in made}) == len(launches) == 7
    assert len(list(cache.rglob("*.cubin"))) == 7


def test_ranks_share_the_work_so_their_kernels_differ(folder: Path) -> None:
    one, two = (
        {
            (each["name"], each["data"])
            for each in list_launches(str(folder), tp, use_fp8=False, target=H200)
        }
        for tp in (1, 2)
    )
    assert {each for each in one if each[0] == "rms_norm_kernel"} <= two
    assert "rotary_kernel" not in {name for name, _ in one & two}


def test_what_cannot_be_is_a_usage_error(folder: Path, tmp_path: Path) -> None:
    for target in ("cuda", "hip:gfx942", "cuda:9"):
        with pytest.raises(UsageError):
            parse_target(target)
    with pytest.raises(UsageError, match="--tp 3"):
        count(folder, 3)
    with pytest.raises(UsageError):
        count(tmp_path / "none")


def test_the_other_family_has_layer_norms_and_no_gate_in_its_vision(tmp_path: Path) -> None:
    qwen2_vl.make(tmp_path / "model")
    assert count(tmp_path / "model") == {
        "gated_activation_kernel": 1,
        "rms_norm_kernel": 1,
        "rotary_kernel": 2,
    }


# Widths: SD3's blocks modulate by joint and single projections, FLUX.2 gates, Qwen-Image norms.
@pytest.mark.parametrize(
    ("family", "kernel"), [("sd3", "norm_modulate_kernel"), ("flux2", "gated_activation_kernel")]
)
def test_diffusion_folders_are_listed_too(tmp_path: Path, family: str, kernel: str) -> None:
    from warmup.engine.tiny.make import make_tiny

    assert kernel in count(make_tiny(family, str(tmp_path / "model")))
