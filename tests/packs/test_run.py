"""`run --from --to`: what one machine warmed, the next finds; real servers, real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.commands.program import call, call_with_mounts, get_env, write_workflow
from tests.packs.fleet import Key
from tests.packs.signers import SigstoreSigners


def make_place(folder: Path, key: Key) -> Path:
    folder.mkdir()
    (folder / "signers").write_text(key.make_line())
    return write_workflow(
        folder, more='\n[packs]\nallowed_signers = "signers"\n[caches]\nroot = "caches"\n'
    )


def run(folder: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return call(folder, "run", "--workflow", "workflow.toml", *args, **env)


def test_the_second_machine_launches_nothing(tmp_path: Path, key: Key) -> None:
    store = f"dir:{tmp_path}/store"
    one, two, request = (tmp_path / name for name in ("one", "two", "request"))
    for folder in (one, two, request):
        make_place(folder, key)
    done = run(one, "--from", store, "--to", store, "--sign", key.sign)
    assert done.returncode == 0, done.stderr
    assert "nothing is pulled: " in done.stderr
    assert "pushed toy:1" in done.stderr
    done = run(two, "--from", store, "--json")
    assert done.returncode == 0, done.stderr
    assert '"state":"warm"' in done.stdout
    index = (tmp_path / "store" / "index.json").read_bytes()
    event = {"GITHUB_EVENT_NAME": "pull_request_target"}
    done = run(request, "--from", store, "--to", store, "--sign", key.sign, **event)
    assert done.returncode == 0, done.stderr
    assert "this is a pull_request_target event, which only reads" in done.stderr
    assert (tmp_path / "store" / "index.json").read_bytes() == index


@pytest.mark.slow
def test_a_workflow_s_identity_instead_of_a_key(
    tmp_path: Path, key: Key, keyless: SigstoreSigners
) -> None:
    store, one, two = f"dir:{tmp_path}/store", tmp_path / "one", tmp_path / "two"
    make_place(one, key)
    make_place(two, key)
    (identity,) = keyless.policy["identities"]
    pairs = "\n".join(f"{name} = {json.dumps(value)}" for name, value in identity.items())
    root = f'trust_root = "{tmp_path}/root.json"'
    with (two / "workflow.toml").open("a") as file:
        file.write(f"[[packs.identities]]\n{pairs}\n")
    sign = ("--to", store, "--sign", f"sigstore:{tmp_path}/client.json")
    done = run(one, *sign)
    assert (done.returncode, "nobody to sign as" in done.stderr) == (2, True)
    assert not (one / "caches").exists()  # told before anything starts
    done = run(one, *sign, SIGSTORE_ID_TOKEN=keyless.service.make_token())
    assert done.returncode == 0, done.stderr
    words = ("verify", store, "--workflow", "workflow.toml")
    done = call(one, *words)
    assert done.returncode == 4
    assert done.stdout.startswith(f"no: {store}: pack refused: rule `identities`")
    text = (two / "workflow.toml").read_text()
    (two / "workflow.toml").write_text(text.replace("[packs]", f"[packs]\n{root}"))
    done = call(two, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"yes: {store} is signed by {keyless.name} (")
    done = run(two, "--from", store, "--json")
    assert done.returncode == 0, done.stderr
    assert '"state":"warm"' in done.stdout


@pytest.mark.slow
def test_a_refused_pack_ends_the_run_before_anything_starts(
    tmp_path: Path, keys: dict[str, Key]
) -> None:
    store = f"dir:{tmp_path}/store"
    one, two = tmp_path / "one", tmp_path / "two"
    make_place(one, keys["writer"])
    make_place(two, keys["writer"])
    done = run(one, "--to", store, "--sign", keys["stranger"].sign)
    assert done.returncode == 0, done.stderr
    done = run(two, "--from", store)
    assert done.returncode == 4
    assert "not among the allowed signers" in done.stderr
    assert not (two / "caches" / "triton").exists()


@pytest.mark.slow
def test_a_killed_pull_leaves_nothing_half_and_the_next_one_ends_it(
    tmp_path: Path, key: Key
) -> None:
    store, one, two = f"dir:{tmp_path}/store", tmp_path / "one", tmp_path / "two"
    make_place(one, key)
    make_place(two, key)
    done = run(one, "--to", store, "--sign", key.sign)
    assert done.returncode == 0, done.stderr
    for entries in range(8):
        process = start_pull(two, store)
        deadline = time.monotonic() + 60
        while process.poll() is None and not has_moved(two, entries):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        for entry in (two / "caches" / "triton").glob("*"):
            assert list_names(entry) == list_names(one / "caches" / "triton" / entry.name)
    done = call(two, "pull", store, "--workflow", "workflow.toml")
    assert done.returncode == 0, done.stderr
    assert "warm toy:1" in done.stdout
    assert not [path for path in (two / "caches").iterdir() if ".warmup-ci-pull-" in path.name]


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def has_moved(folder: Path, step: int) -> bool:
    """Later at each step: a home, a root, a staging folder, a family."""
    caches = folder / "caches"
    signs: list[Any] = [
        folder / "home",
        folder / "home" / "packs" / "accepted.json",
        caches,
        caches / ".warmup-ci-pull.lock",
    ]
    if step < len(signs):
        return bool(signs[step].exists())
    if step == 4:
        return any(path.name.startswith(".warmup-ci-pull-") for path in caches.glob(".*"))
    return (caches / "triton").exists()


def start_pull(folder: Path, store: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "warmup", "pull", store, "--workflow", "workflow.toml"]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=get_env(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="mounting needs root")
def test_a_full_disk_is_told_and_leaves_nothing_behind(tmp_path: Path, key: Key) -> None:
    """A filesystem of 64 KiB for the caches, in a mount namespace of its own."""
    store, one, two = f"dir:{tmp_path}/store", tmp_path / "one", tmp_path / "two"
    make_place(one, key)
    make_place(two, key)
    assert run(one).returncode == 0
    (one / "caches" / "triton" / "Kbig").mkdir()
    (one / "caches" / "triton" / "Kbig" / "a.cubin").write_bytes(os.urandom(1 << 20))
    assert run(one, "--force", "--to", store, "--sign", key.sign).returncode == 0
    (two / "caches").mkdir()
    pull = f"{sys.executable} -m warmup pull {store} --workflow workflow.toml"
    script = f"mount -t tmpfs -o size=64k none caches && {pull}; s=$?; find caches; exit $s"
    done = call_with_mounts(two, script)
    assert done.returncode == 3, done.stderr
    assert "No space left on device" in done.stderr
    assert "a.cubin" not in done.stdout
    assert ".warmup-ci-pull-" not in done.stdout
