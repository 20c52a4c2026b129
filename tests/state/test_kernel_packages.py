"""Packages that bring kernels: FlashInfer's are a shim and one provider for each architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.state.helpers import make_home, make_launch, make_marker_of
from warmup.caches.manifest import FamilySummary
from warmup.state.distributions import read_distributions, read_kernel_packages
from warmup.state.explain import explain
from warmup.state.forecast import compare, make_baseline
from warmup.state.marker_files import write_marker
from warmup.state.version_vector import Ingredient, VersionVector

VERSION = "0.7.2.post1+cu130"
JIT_CACHE = "flashinfer-jit-cache"


def read(site: Path, *names: str) -> dict[str, str]:
    """Of wheels of these names, as pip unpacks their metadata."""
    for name in names:
        (site / f"{name}.dist-info").mkdir(parents=True)
    paths = [str(site)]
    return read_kernel_packages(read_distributions(paths), paths)


def make_vector(found: dict[str, str]) -> VersionVector:
    values = {"python": "3.12.1", "flashinfer": "0.7.2.post1", **found}
    return VersionVector(tuple(Ingredient(name, value) for name, value in values.items()))


def test_a_host_without_them_names_none(tmp_path: Path) -> None:
    assert read(tmp_path, "flashinfer_python-0.7.2.post1", "torch-2.14.1") == {}


@pytest.mark.parametrize(
    ("names", "value"),
    [
        ([f"flashinfer_jit_cache-{VERSION}"], f"{VERSION} without providers"),
        (
            [
                f"flashinfer_jit_cache-{VERSION}",
                f"flashinfer_jit_cache_sm90a-{VERSION}",
                f"flashinfer_jit_cache_sm100f-{VERSION}",
            ],
            f"{VERSION} with sm100f, sm90a",
        ),
        (
            [f"flashinfer_jit_cache-{VERSION}", "flashinfer_jit_cache_sm90a-0.7.1+cu130"],
            f"{VERSION} with sm90a 0.7.1+cu130 (ignored)",
        ),
        (
            [f"flashinfer_jit_cache_sm90a-{VERSION}"],
            f"none with sm90a {VERSION} (ignored)",
        ),
    ],
)
def test_a_shim_is_what_its_providers_are(tmp_path: Path, names: list[str], value: str) -> None:
    """It imports and tells its version whatever it has."""
    assert read(tmp_path, *names) == {JIT_CACHE: value}


def test_the_one_wheel_of_before_brings_its_own(tmp_path: Path) -> None:
    package = tmp_path / "flashinfer_jit_cache"
    (package / "jit_cache" / "batch_prefill").mkdir(parents=True)
    (package / "__init__.py").touch()
    assert read(tmp_path, "flashinfer_jit_cache-0.6.13+cu130") == {JIT_CACHE: "0.6.13+cu130"}


def test_the_others_by_their_version(tmp_path: Path) -> None:
    names = ["flashinfer_cubin-0.7.2.post1", "nvidia_cudnn_frontend-1.31.0", "amd_aiter-0.1.7"]
    assert read(tmp_path, *names, "foundry_core-0.1.0rc3") == {
        "flashinfer-cubin": "0.7.2.post1",
        "nvidia-cudnn-frontend": "1.31.0",
        "amd-aiter": "0.1.7",
        "foundry-core": "0.1.0rc3",
    }


def test_why_and_forecast_name_a_provider_that_went_and_count_what_it_touches(
    tmp_path: Path,
) -> None:
    shim, provider = f"flashinfer_jit_cache-{VERSION}", f"flashinfer_jit_cache_sm90a-{VERSION}"
    old = make_vector(read(tmp_path / "old", shim, provider, "flashinfer_cubin-0.7.2.post1"))
    new = make_vector(read(tmp_path / "new", shim))
    home, launch = make_home(tmp_path), make_launch()
    families = {
        name: FamilySummary(f"/caches/{name}", count, 1, "0" * 64)
        for name, count in {"flashinfer": 7, "flashinfer_autotune": 2, "triton": 9}.items()
    }
    write_marker(home, make_marker_of(launch, old, families=families))

    found = explain(home, launch, new, {"HOME": str(tmp_path)})
    assert [str(each.name) for each in found.changes] == [JIT_CACHE, "flashinfer-cubin"]
    assert found.changes[0].new == f"{VERSION} without providers"
    assert found.changes[1].new is None
    assert found.lost_entries == 7

    told = compare(make_baseline(home, old), tmp_path / "b", [launch], new, lambda _: new)
    assert [each.name for each in told.changes] == [JIT_CACHE, "flashinfer-cubin"]
    assert told.cold[0].entries == {"flashinfer": 7}

    bumped = make_vector({**read(tmp_path / "c", shim), "flashinfer": "0.7.3"})
    told = compare(make_baseline(home, old), tmp_path / "b", [launch], bumped, lambda _: bumped)
    assert told.cold[0].entries == {"flashinfer": 7, "flashinfer_autotune": 2}
