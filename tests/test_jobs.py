"""`run --jobs` as a user has it: real servers side by side, one orchestrator, real signals."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.commands.program import call, get_env
from tests.jobs_program import run_jobs, server, write
from warmup.supervise.tree import proc


def start(folder: Path, jobs: str, *args: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "warmup", "run", "--workflow", "workflow.toml", "--jobs", jobs]
    return subprocess.Popen(
        [*command, *args],
        cwd=folder,
        env=get_env(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_pids(folder: Path, *names: str) -> list[int]:
    """The leaders of these servers, once all of them are up."""
    paths = [folder / f"{name}.up" for name in names]
    wait_until(lambda: all(path.exists() for path in paths))
    return [int(path.read_text().split()[0]) for path in paths]


def list_left(pids: list[int]) -> list[int]:
    return [pid for pid in pids if proc.is_living(pid)]


def read_events(folder: Path) -> list[dict[str, Any]]:
    (path,) = folder.glob("home/runs/*/events.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_cache_root_is_every_jobs(tmp_path: Path) -> None:
    """However it is said; the servers of jobs once wrote into the user's own caches."""
    write(tmp_path, server("a"), server("b"))
    workflow = tmp_path / "workflow.toml"
    workflow.write_text(workflow.read_text() + '[caches]\nroot = "said-there"\n')
    for args, root in (((), "said-there"), (("--cache-root", "said-here"), "said-here")):
        found = run_jobs(tmp_path, "2", "--force", *args)
        assert {model["state"] for model in found.values()} == {"warmed"}, found
        entries = {path.name for path in (tmp_path / root / "triton").iterdir()}
        assert entries == {"HASHA", "HASHB"}
    assert not (tmp_path / "triton").exists()


def test_two_models_are_warmed_at_once_and_stay_warm(tmp_path: Path) -> None:
    write(tmp_path, server("a", "b"), server("b", "a"))
    found = run_jobs(tmp_path, "2")
    assert [model["state"] for model in found.values()] == ["warmed", "warmed"]
    assert list(found) == ["a", "b"]
    (run_dir,) = tmp_path.glob("home/runs/*")  # the children have taken their ledgers away
    assert json.loads((run_dir / "ledger.json").read_text())["finished"] is True
    assert sorted(path.name for path in run_dir.glob("*.log")) == ["a.log", "b.log"]
    again = run_jobs(tmp_path, "2")
    assert [model["state"] for model in again.values()] == ["warm", "warm"]


@pytest.mark.slow
def test_one_at_a_time_the_longest_first(tmp_path: Path) -> None:
    write(tmp_path, server("small"), server("large", tp=4), server("middle", tp=2))
    run_jobs(tmp_path, "1")
    events = [(e["kind"], e["model"]) for e in read_events(tmp_path) if e["kind"][:6] == "model_"]
    names = ["large:4", "middle:2", "small:1"]
    assert events == [(f"model_{what}", each) for each in names for what in ("started", "finished")]


def test_a_failure_costs_no_neighbour(tmp_path: Path) -> None:
    write(tmp_path, server("bad", "good", "--die-on-request"), server("good", "bad"))
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--jobs", "2")
    assert done.returncode == 1
    assert "bad:1 ....... failed" in done.stdout and "good:1 ...... warmed" in done.stdout
    assert done.stderr.count("error: the warm-up request POST /generate failed") == 1


def test_tails_are_not_mixed(tmp_path: Path) -> None:
    lines = "for i in 1 2 3 4 5 6 7 8 9; do echo I am {0}; done\n"
    names = ("a", "b", "c")
    write(tmp_path, *(server(each, "a b c", before=lines.format(each)) for each in names))
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--jobs", "3")
    assert done.returncode == 0, done.stderr
    shown = [line[9:] for line in done.stderr.splitlines() if line.startswith("  | I am ")]
    assert len(shown) == 27
    assert sum(one != other for one, other in itertools.pairwise(shown)) == 2


def test_fail_fast_ends_those_that_run(tmp_path: Path) -> None:
    write(
        tmp_path,
        server("bad", "slow", "--die-on-request"),
        server("slow", "bad", "--never-ready"),
        server("third"),
    )
    found = run_jobs(tmp_path, "2", "--fail-fast")
    assert [model["state"] for model in found.values()] == ["failed", "skipped", "skipped"]
    assert "bad:1 failed and --fail-fast" in found["slow"]["reason"]
    assert not list_left(wait_for_pids(tmp_path, "bad", "slow"))


@pytest.mark.slow
def test_proofs_come_last_and_are_not_blamed_for_a_neighbour(tmp_path: Path) -> None:
    write(tmp_path, server("a", "b"), server("b", "a", "--always-compile"))
    found = run_jobs(tmp_path, "2", "--prove")
    assert (found["a"]["state"], found["a"]["proven"]) == ("warmed", True)
    assert {"ready", "prove_ready"} <= set(found["a"]["phases"])
    assert found["b"]["state"] == "failed"
    assert "not proven" in found["b"]["reason"]


@pytest.mark.slow
def test_a_deadline_ends_what_runs(tmp_path: Path) -> None:
    write(tmp_path, server("a", "", "--never-ready"), server("b", "", "--never-ready"))
    found = run_jobs(tmp_path, "2", "--deadline", "4")
    assert [model["state"] for model in found.values()] == ["failed", "failed"]
    assert "deadline has passed" in found["a"]["reason"]


@pytest.mark.parametrize(
    "signum", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_ends_all_and_shows_every_tail(tmp_path: Path, signum: int) -> None:
    write(
        tmp_path,
        server("a", "b", "--never-ready", "--print", "A-is-up"),
        server("b", "a", "--never-ready", "--print", "B-is-up", "--ignore-term"),
        server("c"),
    )
    run = start(tmp_path, "2", "--json")
    pids = wait_for_pids(tmp_path, "a", "b")
    logs = [*tmp_path.glob("home/runs/*/[ab].log")]
    wait_until(lambda: all("-is-up" in log.read_text() for log in logs))
    run.send_signal(signum)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 128 + signum
    states = [model["state"] for model in json.loads(out)["models"]]
    assert states == ["failed", "failed", "skipped"]
    assert "  | A-is-up" in err and "  | B-is-up" in err
    assert err.count("error: cancelled by") == 1
    assert not list_left(pids)


def test_nobody_outlives_a_killed_orchestrator(tmp_path: Path) -> None:
    write(
        tmp_path,
        server("a", "b", "--never-ready", "--ignore-term"),
        server("b", "a", "--never-ready"),
    )
    run = start(tmp_path, "2")
    pids = [*wait_for_pids(tmp_path, "a", "b"), *proc.list_descendants(run.pid)]
    assert len(set(pids)) >= 6, "two jobs, two shims, two servers"
    run.kill()
    run.communicate(timeout=30)
    wait_until(lambda: not list_left(pids))
    done = call(tmp_path, "reap")
    assert done.returncode == 0, done.stderr


def test_a_killed_job_is_a_failure_and_leaves_nobody(tmp_path: Path) -> None:
    """Its shim is stopped first, so that its server is the run's own to end."""
    write(tmp_path, server("a", "b", "--never-ready", "--print", "up"), server("b"))
    run = start(tmp_path, "2", "--json")
    (leader,) = wait_for_pids(tmp_path, "a")
    wait_until(lambda: any("up" in log.read_text() for log in tmp_path.glob("home/runs/*/a.log")))
    shim = _get_parent(leader)
    job = _get_parent(shim)
    os.kill(shim, signal.SIGSTOP)
    os.kill(job, signal.SIGKILL)
    out, err = run.communicate(timeout=60)
    found = {model["model"]: model for model in json.loads(out)["models"]}
    assert (found["a"]["state"], found["b"]["state"]) == ("failed", "warmed")
    assert "its supervising process is gone" in found["a"]["reason"]
    assert "  | up" in err
    assert not list_left([leader, shim, job])
    assert len([*tmp_path.glob("home/runs/*")]) == 1


def _get_parent(pid: int) -> int:
    stat = proc.find_stat(pid)
    assert stat is not None
    return stat.ppid


@pytest.mark.parametrize("jobs", ["0", "-1", "many", "1.5"])
def test_an_impossible_number_of_jobs_is_a_users_mistake(tmp_path: Path, jobs: str) -> None:
    write(tmp_path, server("a"))
    done = call(tmp_path, "run", "--workflow", "workflow.toml", "--jobs", jobs)
    assert done.returncode == 2 and "--jobs" in done.stderr
