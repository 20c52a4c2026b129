"""`run --jobs` on a host whose NVML shows four GPUs: the null device's stands in for it."""

from __future__ import annotations

from pathlib import Path

from tests.jobs_program import run_jobs, server, write
from tests.target.null_device import get_libraries
from warmup.target.build import LIBRARIES
from warmup.target.profile import encode_profile, parse_target


def test_gpus_are_disjoint_and_a_large_model_waits(tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    profile.write_text(encode_profile(parse_target("h200x4")))
    env = {
        "LD_PRELOAD": ":".join(str(get_libraries() / each.soname) for each in LIBRARIES),
        "WARMUP_CI_NULL_PROFILE": str(profile),
        "WARMUP_CI_NULL_TRACE": str(tmp_path / "trace"),
    }
    ended = "kill -0 $(cut -d' ' -f1 ../../../../all.up) && exit 9\n"  # its GPUs were taken
    write(
        tmp_path,
        server("a", "b", tp=2, before=ended),
        server("b", "a", tp=2, before=ended),
        server("all", tp=3),
    )
    found = run_jobs(tmp_path, "auto", **env)
    assert {model["state"] for model in found.values()} == {"warmed"}, found
    gpus = {name: (tmp_path / f"{name}.up").read_text().split()[1] for name in ("a", "b", "all")}
    assert sorted(gpus["a"].split(",") + gpus["b"].split(",")) == ["0", "1", "2", "3"]
    assert gpus["all"] == "0,1,2"
