from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.supervise.toys import TOY, Toy, is_served, run_command, run_foreign, run_toy, wait_for
from warmup.supervise.ports import lease_ports
from warmup.supervise.watch import readiness
from warmup.supervise.watch.liveness import Fault, Liveness
from warmup.supervise.watch.readiness import NotReady, wait_until_ready
from warmup.words.errors import Cancelled
from warmup.words.secrets import Redactor


def wait(toy: Toy, timeout_s: float = 20.0, redactor: Redactor | None = None) -> None:
    wait_until_ready(
        toy.server,
        toy.supervisor,
        port=toy.port,
        path="/health",
        timeout_s=timeout_s,
        log_watch=toy.watch,
        redactor=redactor,
    )


def get_cause(toy: Toy, timeout_s: float = 20.0, redactor: Redactor | None = None) -> str:
    """Why it did not become ready; fails the test where it did."""
    with pytest.raises(NotReady) as caught:
        wait(toy, timeout_s, redactor)
    assert caught.value.log == str(toy.watch.path)
    return caught.value.cause or ""


def expect_seen(toy: Toy, seen: str, redactor: Redactor | None = None) -> None:
    """What the timeout says was seen; a busy machine may need a longer one."""
    toy.wait_until_listening()
    for timeout_s in (0.4, 2.0, 10.0):
        cause = get_cause(toy, timeout_s, redactor)
        assert cause.startswith(f"not ready within {timeout_s:g} s; last seen: ")
        if seen in cause:
            return
    raise AssertionError(f"{seen!r} is not in {cause!r}")


def test_ready_when_it_answers_200(tmp_path: Path) -> None:
    with run_toy(tmp_path, "ok") as toy:
        wait(toy)


def test_a_final_word_in_an_unhealthy_answer_ends_the_wait(tmp_path: Path) -> None:
    """sglang-diffusion lives on with a dead broker, and says so nowhere but in its 503."""
    body = '{"status":"unhealthy","error":"Scheduler hit an exception; restart the server."}'
    with run_toy(tmp_path, "unhealthy", body) as toy:
        assert get_cause(toy, timeout_s=600.0) == f"/health answered HTTP 503 {body}"


def test_refused_then_503_then_200(tmp_path: Path) -> None:
    warm = tmp_path / "warm"
    polls = []

    def on_poll() -> None:
        polls.append(1)
        if len(polls) == 5:
            warm.touch()

    with run_toy(tmp_path, "ok_when", str(warm)) as toy:
        wait_until_ready(
            toy.server,
            toy.supervisor,
            port=toy.port,
            path="/health",
            timeout_s=20,
            log_watch=toy.watch,
            on_poll=on_poll,
        )
    assert len(polls) >= 5


def test_503_for_ever_times_out_with_what_was_seen(tmp_path: Path) -> None:
    with run_toy(tmp_path, "ok_when", "/nonexistent") as toy:
        expect_seen(toy, 'last seen: HTTP 503 {"status":"warming_up"}')


@pytest.mark.parametrize(
    ("mode", "seen"),
    [
        ("hang", "no answer within"),
        ("drip", "an unfinished answer of"),
        ("close", "the server closed the connection without an answer"),
        ("garbage", "the answer is not HTTP"),
        ("garbage_status", "the answer is not HTTP (BadStatusLine)"),
        ("endless_header", "the answer's header does not end"),
        ("endless_interim", "the answer never comes"),
        ("endless_body", "the answer is larger than"),
        ("cut_body", "the server closed the connection within its answer"),
        ("redirect", "HTTP 307 to http://example.org/ (redirects are not followed)"),
    ],
)
def test_bad_health_is_neither_ready_nor_a_stall(tmp_path: Path, mode: str, seen: str) -> None:
    with run_toy(tmp_path, mode) as toy:
        expect_seen(toy, f"last seen: {seen}")


def test_the_loop_goes_on_while_health_hangs(tmp_path: Path) -> None:
    num_turns = 0

    def on_poll() -> None:
        nonlocal num_turns
        num_turns += 1
        if num_turns == 5:
            os.kill(toy.server.leader_pid, signal.SIGKILL)

    with run_toy(tmp_path, "hang") as toy:
        toy.wait_until_listening()
        with pytest.raises(NotReady, match="did not become ready") as caught:
            wait_until_ready(
                toy.server,
                toy.supervisor,
                port=toy.port,
                path="/health",
                timeout_s=20,
                log_watch=toy.watch,
                on_poll=on_poll,
            )
    assert caught.value.cause == "the leader was killed by SIGKILL"


def test_slow_health_is_waited_for(tmp_path: Path) -> None:
    with run_toy(tmp_path, "slow", "1") as toy:
        wait(toy)


def test_hung_probe_is_given_up_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_PROBE_TIMEOUT_S", 0.1)
    with run_toy(tmp_path, "slow", "60") as toy:
        expect_seen(toy, "last seen: no answer within 0.1 s")


@pytest.mark.parametrize("status", ["0", "7"])
def test_exit_is_known_long_before_the_timeout(tmp_path: Path, status: str) -> None:
    with run_toy(tmp_path, "exit", status) as toy:
        assert get_cause(toy, 120) == f"the leader exited with status {status}"


def test_leader_that_leaves_its_worker_serving_is_not_ready(tmp_path: Path) -> None:
    with run_toy(tmp_path, "daemon") as toy:
        wait_for(lambda: toy.server.find_exit(), "the leader did not exit")
        assert "the leader exited with status 0" in get_cause(toy)


def test_crash_pattern_ends_the_wait(tmp_path: Path) -> None:
    line = "[rank 3] Scheduler hit an exception: CUDA error"
    with run_toy(tmp_path, "silent", line) as toy:
        assert get_cause(toy, 120) == f"its log says: {line}"


def test_the_exception_of_a_crash_is_the_cause(tmp_path: Path) -> None:
    line = "Scheduler hit an exception: Traceback (most recent call last):"
    text = f"[TP3] {line}\n  File 'a.py', line 1\nRuntimeError: CUDA error"
    with run_toy(tmp_path, "silent", text) as toy:
        cause = get_cause(toy, 120)
    assert cause == "its log says: [TP3] Scheduler hit an exception: RuntimeError: CUDA error"


def test_polls_are_seldom_once_the_answer_repeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten polls a second for ten minutes fill a log; processes are looked at all the same."""
    monkeypatch.setattr(readiness, "_PATIENT_S", 600.0)
    num_turns = 0

    def on_poll() -> None:
        nonlocal num_turns
        num_turns += 1

    with run_toy(tmp_path, "ok_when", "/nonexistent") as toy:
        toy.wait_until_listening()
        with pytest.raises(NotReady, match="did not become ready"):
            wait_until_ready(
                toy.server,
                toy.supervisor,
                port=toy.port,
                path="/health",
                timeout_s=4,
                log_watch=toy.watch,
                on_poll=on_poll,
            )
        ports = toy.watch.own_polls._ports
    assert len(ports) <= readiness._MAX_ALIKE + 2
    assert num_turns > len(ports)


def test_nothing_at_all(tmp_path: Path) -> None:
    with run_toy(tmp_path, "silent") as toy:
        assert get_cause(toy, 0.3) == "not ready within 0.3 s; last seen: connection refused"


def test_server_on_another_port_is_found_out(tmp_path: Path) -> None:
    with run_toy(tmp_path, "elsewhere") as toy:
        wait_for(lambda: is_served(toy.port + 1), "the toy does not listen")
        cause = get_cause(toy, 0.3)
    assert f"the server listens on 127.0.0.1:{toy.port + 1} and not on port {toy.port}" in cause


def test_port_taken_by_a_foreign_server(tmp_path: Path) -> None:
    """sglang logs that its port is taken, and dies more than two minutes later."""
    with (
        lease_ports(tmp_path / "locks", 1) as lease,
        run_foreign(lease.port, "ok") as foreign,
        run_toy(tmp_path, "silent", port=lease.port) as toy,
    ):
        cause = get_cause(toy, 120)
    assert cause.startswith(
        f"port {lease.port} is also served by pid {foreign.pid} ({sys.executable}"
    )


@pytest.mark.parametrize("mode", ["hang", "ok_when"])
def test_foreign_server_that_never_says_200(tmp_path: Path, mode: str) -> None:
    with (
        lease_ports(tmp_path / "locks", 1) as lease,
        run_foreign(lease.port, mode, "/nonexistent") as foreign,
        run_toy(tmp_path, "silent", port=lease.port) as toy,
    ):
        assert f"pid {foreign.pid}" in get_cause(toy, 120)


def test_port_shared_with_a_foreign_server(tmp_path: Path) -> None:
    """Both answer 200; with SO_REUSEPORT nobody knows which of them did."""
    with (
        lease_ports(tmp_path / "locks", 1) as lease,
        run_foreign(lease.port, "reuse_port") as foreign,
        run_toy(tmp_path, "reuse_port", port=lease.port) as toy,
    ):
        assert f"pid {foreign.pid}" in get_cause(toy, 120)


def test_proxies_of_the_environment_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with run_toy(tmp_path, "ok") as toy:
        wait(toy)


def test_200_from_the_leader_while_a_worker_was_killed(tmp_path: Path) -> None:
    with run_toy(tmp_path, "idle_worker") as toy:
        wait(toy)
        worker = toy.get_worker_pid()
        os.kill(worker, signal.SIGKILL)
        assert f"worker pid {worker} (" in (cause := get_cause(toy))
    assert cause.endswith("was killed by SIGKILL")


def test_200_from_the_leader_while_a_worker_failed(tmp_path: Path) -> None:
    with run_toy(tmp_path, "failed_worker") as toy:
        assert get_cause(toy).endswith("exited with status 3")


def test_what_the_leader_says_after_it_killed_its_worker_is_told(tmp_path: Path) -> None:
    """sglang kills all its processes first, and only then prints why it failed."""
    with run_toy(tmp_path, "fail_when_told") as toy, Liveness(toy.server, toy.watch) as liveness:
        worker = toy.get_worker_pid()
        os.kill(worker, signal.SIGKILL)
        found: list[Fault] = []

        def has_fault() -> bool:
            fault = liveness.find_fault()
            found.extend([] if fault is None else [fault])
            return bool(found)

        wait_for(has_fault, "no fault")
        (tmp_path / f"{toy.port}.fail").touch()
        cause = liveness.hear_out(found[0], toy.supervisor).text
    assert cause.startswith(f"worker pid {worker} (")
    assert cause.endswith(
        "was killed by SIGKILL; then the leader exited with status 1; its log says: "
        "RuntimeError: no accelerator"
    )


def test_a_killed_worker_is_the_cause_where_the_log_points_elsewhere(tmp_path: Path) -> None:
    """vLLM 0.32.0 says no more of an EngineCore that the OOM killer ended."""
    said = "Scheduler hit an exception. See root cause above. Failed core proc(s): {}"
    with (
        run_toy(tmp_path, "point_elsewhere", said) as toy,
        Liveness(toy.server, toy.watch) as liveness,
    ):
        worker = toy.get_worker_pid()
        assert liveness.find_fault(thorough=True) is None
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: said in toy.watch.path.read_text(), "the leader says nothing")
        fault = liveness.find_fault()
    assert fault is not None
    if fault.text == f"its log says: {said}":
        pytest.skip("this kernel does not keep the status of reaped processes (< 6.15)")
    assert fault.text.startswith(f"worker pid {worker} (")
    assert fault.text.endswith(f"was killed by SIGKILL; its log says: {said}")
    assert fault.is_from_outside


def test_a_worker_that_is_done_is_no_fault(tmp_path: Path) -> None:
    with run_toy(tmp_path, "done_worker") as toy:
        wait(toy)


def test_worker_answers_200_after_its_leader_was_killed(tmp_path: Path) -> None:
    """uvicorn's workers share the listening socket and outlive their parent."""
    with lease_ports(tmp_path / "locks", 1) as lease:
        argv = [sys.executable, "-m", "uvicorn", "--workers", "2", "--port", str(lease.port)]
        argv += ["--app-dir", str(TOY.parent), "http_asgi:app"]
        with run_command(tmp_path, lease.port, argv) as toy:
            wait(toy)
            os.kill(toy.server.leader_pid, signal.SIGKILL)
            assert get_cause(toy).startswith("the leader was killed by SIGKILL")


def test_cancelled_while_waiting(tmp_path: Path) -> None:
    with run_toy(tmp_path, "silent") as toy:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Cancelled):
            wait(toy, 120)


def test_secrets_do_not_leave_through_the_message(tmp_path: Path) -> None:
    with run_toy(tmp_path, "forbidden", "no, hf_abcdefghijklmnopqrst, no") as toy:
        expect_seen(toy, "HTTP 403 no, ***, no", Redactor(("hf_abcdefghijklmnopqrst",)))
