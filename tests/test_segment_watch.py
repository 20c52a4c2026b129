"""What the session's check for leaks goes by: whose segment is it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.supervise.trees import DEADLINE_S, ROOT
from warmup.supervise.tree.segments import SHM, list_own

_MAPS = (
    "import mmap, sys; f = open(sys.argv[1], 'wb+'); f.truncate(9); m = mmap.mmap(f.fileno(), 9)"
)


@pytest.mark.skipif(not os.access(SHM, os.W_OK), reason="needs /dev/shm")
def test_segments_of_descendants_are_seen_and_others_are_not() -> None:
    own, foreign = (SHM / f"test{os.urandom(4).hex()}" for _ in range(2))
    argv = [sys.executable, "-m", "tests.segment_watch"]
    with (
        subprocess.Popen(["sleep", "60"]) as other,
        subprocess.Popen(
            [*argv, str(os.getpid())], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as watch,
        subprocess.Popen(
            [*argv, str(other.pid)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as other_watch,
    ):
        for each in (watch, other_watch):
            assert each.stdout is not None
            each.stdout.readline()
        foreign.touch()
        script = f"{_MAPS}; print(flush=True); sys.stdin.read()"
        with subprocess.Popen(
            [sys.executable, "-c", script, str(own)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            identities = {name: list(each) for each, name in list_own().items()}
            seen = json.loads(watch.communicate(timeout=DEADLINE_S)[0])
            unseen = json.loads(other_watch.communicate(timeout=DEADLINE_S)[0])
            child.communicate()
        other.kill()
    own.unlink()
    foreign.unlink()
    assert identities[own.name] in seen
    assert identities[foreign.name] not in seen
    assert identities[own.name] not in unseen
