"""`doctor --profile`, run against the null libraries: what they say comes back figure by figure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.commands.program import call, get_env
from tests.target.null_device import get_libraries
from warmup.target.capture import compare_profiles
from warmup.target.profile import Profile, encode_profile, list_profiles, parse_target, read_profile


def call_there(folder: Path, target: str, *args: str) -> subprocess.CompletedProcess[str]:
    profile = folder / "gpu.profile"
    profile.write_text(encode_profile(parse_target(target)))
    preload = [get_libraries() / name for name in ("libcuda.so.1", "libnvidia-ml.so.1")]
    env = get_env(
        folder, LD_PRELOAD=":".join(map(str, preload)), WARMUP_CI_NULL_PROFILE=str(profile)
    )
    command = [sys.executable, "-m", "warmup", "doctor", *args]
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("kind", list_profiles())
def test_what_is_captured_is_the_profile(tmp_path: Path, kind: str) -> None:
    done = call_there(tmp_path, kind, "--profile")
    assert done.returncode == 0, done.stderr
    seen = msgspec.json.decode(done.stdout, type=Profile)
    ours = read_profile(kind)
    assert msgspec.structs.replace(seen, sources={}) == msgspec.structs.replace(
        ours, sources={}, attributes=seen.attributes
    )
    # The null device answers 0 for what a profile does not name.
    assert {name: value for name, value in seen.attributes.items() if name in ours.attributes} == (
        ours.attributes
    )
    assert not any(value for name, value in seen.attributes.items() if name not in ours.attributes)


def test_a_difference_is_a_line_and_a_status(tmp_path: Path) -> None:
    done = call_there(tmp_path, "h100", "--profile", "h200")
    assert done.returncode == 1
    assert "name: profile NVIDIA H200, this GPU NVIDIA H100" in done.stdout
    assert "h200: " in done.stdout.splitlines()[-1]
    document = json.loads(call_there(tmp_path, "h100", "--profile", "h200", "--json").stdout)
    assert document["exit_code"] == 1 and document["differences"]


def test_a_machine_of_another_driver_is_the_same_kind() -> None:
    ours = read_profile("h200")
    seen = msgspec.structs.replace(ours, driver="590.1", cuda_driver=13010, sources={})
    assert list(compare_profiles(ours, seen)) == []


def test_without_a_gpu_or_a_profile(tmp_path: Path) -> None:
    done = call(tmp_path, "doctor", "--profile")
    assert done.returncode == 3 and "there is no CUDA driver here" in done.stderr
    done = call(tmp_path, "doctor", "--profile", "h300")
    assert done.returncode == 2 and "no profile of a GPU 'h300'" in done.stderr
