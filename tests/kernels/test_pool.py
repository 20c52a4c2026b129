from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from warmup.kernels.pool import CompileJob, CompilePool, JobOutcome, WorkerSpec, get_num_workers
from warmup.words.errors import Cancelled, WarmupError

HANDLER = Path(__file__).with_name("handlers.py")
WITHIN_S = 30.0


def make_pool(folder: Path, count: int = 2, *args: str, **settings: object) -> CompilePool:
    spec = WorkerSpec(python=sys.executable, handler=HANDLER, args=args)
    return CompilePool([spec] * count, env=os.environ, cwd=folder, log=folder / "log", **settings)  # type: ignore[arg-type]


def is_gone(pid: int) -> bool:
    """Ended, reaped or not: an orphan's zombie may wait for init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(path: Path) -> str:
    deadline = time.monotonic() + WITHIN_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not come"
        time.sleep(0.02)
    return path.read_text()


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not is_gone(pid):
        assert time.monotonic() < deadline, f"{pid} lives on"
        time.sleep(0.02)


def test_every_job_is_answered_once(tmp_path: Path) -> None:
    jobs = [CompileJob(str(i), {"value": i}) for i in range(20)]
    seen: list[tuple[int, int]] = []
    with make_pool(tmp_path) as pool:
        outcomes = pool.run(jobs, lambda _outcome, done, total: seen.append((done, total)))
    assert sorted(each.answer for each in outcomes) == list(range(20))
    assert seen == [(i, 20) for i in range(1, 21)]
    assert "noise" in (tmp_path / "log").read_text()


def test_the_longest_go_first(tmp_path: Path) -> None:
    jobs = [CompileJob(str(i), {"spin": 20000}, cost=i) for i in range(12)]
    with make_pool(tmp_path, 1) as pool:
        assert [each.job.name for each in pool.run(jobs)] == [str(i) for i in range(11, -1, -1)]


def test_a_failure_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    with make_pool(tmp_path, 1) as pool:
        outcomes = pool.run(
            [CompileJob("bad", {"fail": "no such shape"}, cost=2), CompileJob("good")]
        )
    assert [each.error for each in outcomes] == ["ValueError: no such shape", None]
    assert outcomes[0].num_tries == 1


def test_a_worker_that_dies_is_replaced_and_its_job_tried_once_more(tmp_path: Path) -> None:
    jobs = [
        CompileJob("dies once", {"die": str(tmp_path / "mark"), "value": "done"}),
        CompileJob("other"),
    ]
    with make_pool(tmp_path, 1) as pool:
        found = {each.job.name: each for each in pool.run(jobs)}
    assert (found["dies once"].answer, found["dies once"].num_tries) == ("done", 2)
    assert found["other"].error is None


def test_a_job_that_kills_every_worker_is_reported(tmp_path: Path) -> None:
    jobs = [
        CompileJob("kills", {"die": str(tmp_path / "mark"), "always": True}),
        CompileJob("other"),
    ]
    with make_pool(tmp_path, 2) as pool:
        found = {each.job.name: each for each in pool.run(jobs)}
    assert found["kills"].error == "its worker died 2 times (exit status -9)"
    assert found["other"].error is None


def test_a_job_that_takes_too_long_is_ended_with_its_compiler(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with make_pool(tmp_path, 1, job_timeout_s=2.5) as pool:
        (outcome,) = pool.run([CompileJob("stuck", {"child": str(pid)})])
    assert outcome.error is not None and "took too long" in outcome.error
    wait_gone(int(pid.read_text()))


def test_a_worker_that_dies_under_its_compiler_is_seen_at_once(tmp_path: Path) -> None:
    """And the compiler, which nobody waits for any more, ends too."""
    pid = tmp_path / "pid"
    with make_pool(tmp_path, 1, job_timeout_s=30) as pool:
        (outcome,) = pool.run([CompileJob("orphan", {"orphan": str(pid)})])
    assert outcome.error == "its worker died 2 times (exit status -9)"
    wait_gone(int(pid.read_text()))


@pytest.mark.parametrize(("how", "start_timeout_s"), [("broken", WITHIN_S), ("silent", 1.0)])
def test_no_worker_that_starts_is_an_error_with_its_last_line(
    tmp_path: Path, how: str, start_timeout_s: float
) -> None:
    with (
        make_pool(tmp_path, 1, how, start_timeout_s=start_timeout_s) as pool,
        pytest.raises(WarmupError, match="no compile worker could start") as caught,
    ):
        pool.run([CompileJob("one")])
    if how == "broken":
        assert caught.value.cause == "ImportError: No module named 'deep_gemm'"


def test_a_python_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    spec = WorkerSpec(python="/nonexistent/python", handler=HANDLER)
    with (
        CompilePool([spec], env={}, cwd=tmp_path, log=tmp_path / "log") as pool,
        pytest.raises(WarmupError, match="cannot start /nonexistent/python"),
    ):
        pool.run([CompileJob("one")])


def test_a_cancel_ends_every_worker_and_its_compiler(tmp_path: Path) -> None:
    pids = [tmp_path / "a", tmp_path / "b"]

    def check() -> None:
        if all(path.exists() for path in pids):
            raise Cancelled(signal.SIGINT, "SIGINT")

    with make_pool(tmp_path, 2, check=check) as pool, pytest.raises(Cancelled):
        pool.run([CompileJob("stuck", {"child": str(path)}) for path in pids])
    for path in pids:
        wait_gone(int(path.read_text()))


def test_workers_die_with_a_killed_orchestrator(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from warmup.kernels.pool import CompileJob, CompilePool, WorkerSpec\n"
        f"spec = WorkerSpec(python=sys.executable, handler=Path({str(HANDLER)!r}))\n"
        f"log = Path({str(tmp_path / 'log')!r})\n"
        "pool = CompilePool([spec], env=os.environ, cwd=Path('.'), log=log)\n"
        f"stuck = CompileJob('stuck', {{'child': {str(tmp_path / 'pid')!r}}}, 0.5)\n"
        "pool.run([CompileJob('value'), stuck],\n"
        f"    lambda each, *_: Path({str(tmp_path / 'worker')!r}).write_text(str(each.answer)))\n"
    )
    root = Path(__file__).parents[2]
    orchestrator = subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    child = int(wait_until(tmp_path / "pid"))
    worker = int(wait_until(tmp_path / "worker"))
    try:
        orchestrator.kill()
        orchestrator.wait(WITHIN_S)
        wait_gone(worker)
    finally:
        os.kill(child, signal.SIGKILL)  # its parent alone was told to die with us
        wait_gone(child)


def test_a_pool_runs_again_with_more_workers(tmp_path: Path) -> None:
    with make_pool(tmp_path, 1) as pool:
        (first,) = pool.run([CompileJob("one")])
        pool.add([WorkerSpec(python=sys.executable, handler=HANDLER)])
        second: list[JobOutcome] = pool.run(
            [CompileJob(str(i), {"spin": 300000}) for i in range(6)]
        )
    assert first.answer in {each.answer for each in second}


def test_workers_are_bounded_by_jobs_cores_and_memory() -> None:
    cores = len(os.sched_getaffinity(0))
    assert get_num_workers(1000, None, 1) == cores
    assert get_num_workers(1, None, 1) == 1
    assert get_num_workers(1000, 3, 1) == 3
    assert get_num_workers(1000, 64, 1 << 60) == 1
