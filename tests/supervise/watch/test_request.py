from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.supervise.toys import Toy, run_toy
from warmup.launch.launch import RequestSpec
from warmup.supervise.log.watch import LogWatch
from warmup.supervise.watch import workers as worker_watch
from warmup.supervise.watch.request import Answer, send_request, send_requests
from warmup.words.errors import Cancelled, WarmupError

GENERATE = RequestSpec(path="/generate", json={"prompt": "grün"})


def send(toy: Toy, request: RequestSpec = GENERATE, timeout_s: float = 60.0) -> Answer:
    toy.wait_until_listening()
    return send_request(
        toy.server,
        toy.supervisor,
        port=toy.port,
        request=request,
        timeout_s=timeout_s,
        log_watch=toy.watch,
    )


def get_cause(toy: Toy, timeout_s: float = 60.0) -> str:
    with pytest.raises(WarmupError, match=r"warm-up request POST /generate failed") as caught:
        send(toy, timeout_s=timeout_s)
    return caught.value.cause or ""


def test_the_answer_comes_back_whole_whatever_its_status(tmp_path: Path) -> None:
    request = RequestSpec(path="/v1/x", json={"prompt": "grün"}, headers={"X-Key": "a b"})
    with run_toy(tmp_path, "echo") as toy:
        answer = send(toy, request)
    head, _, body = answer.body.decode().partition("\r\n\r\n")
    assert answer.status == 201
    assert head.startswith("POST /v1/x HTTP/1.1\r\n")
    assert "X-Key: a b\r\n" in head
    assert "Content-Type: application/json" in head
    assert json.loads(body) == {"prompt": "grün"}
    assert answer.seconds < 60


def test_server_that_dies_of_its_first_request(tmp_path: Path) -> None:
    """vLLM with an odd head size: health says 200, the first request ends it."""
    with run_toy(tmp_path, "dies_of_request") as toy:
        assert get_cause(toy).startswith("the leader exited with status 7")


def test_crash_pattern_while_the_request_hangs(tmp_path: Path) -> None:
    line = "Scheduler hit an exception: out of memory"
    with run_toy(tmp_path, "prints_at_request", line) as toy:
        assert get_cause(toy) == f"its log says: {line}"


@pytest.mark.parametrize("mode", ["idle_worker", "reaped_worker"])
def test_worker_killed_while_the_request_hangs(tmp_path: Path, mode: str) -> None:
    if mode == "reaped_worker" and not has_exit_status():
        pytest.skip("this kernel does not keep the status of reaped processes (< 6.15)")
    with run_toy(tmp_path, mode) as toy:
        worker = toy.get_worker_pid()
        turns = iter(range(1000))

        def on_poll() -> None:
            if next(turns) == 3:
                os.kill(worker, signal.SIGKILL)

        with pytest.raises(WarmupError) as caught:
            send_request(
                toy.server,
                toy.supervisor,
                port=toy.port,
                request=GENERATE,
                timeout_s=60,
                log_watch=toy.watch,
                on_poll=on_poll,
            )
    cause = caught.value.cause or ""
    assert cause.startswith(f"worker pid {worker} (")
    assert cause.endswith("was killed by SIGKILL")


def test_good_answer_beside_a_worker_that_failed(tmp_path: Path) -> None:
    with run_toy(tmp_path, "failed_worker") as toy:
        cause = get_cause(toy)
    assert cause.startswith("it was answered, but worker pid")
    assert cause.endswith("exited with status 3")


def test_good_answer_beside_a_worker_that_is_done(tmp_path: Path) -> None:
    with run_toy(tmp_path, "done_worker") as toy:
        assert send(toy).status == 201


def has_exit_status() -> bool:
    """Whether this kernel tells how a process ended that its parent has reaped."""
    process = subprocess.Popen(["true"])
    pidfd = os.pidfd_open(process.pid)
    try:
        process.wait(30)
        return worker_watch._find_exit_status(pidfd) is not None
    finally:
        os.close(pidfd)


@pytest.mark.parametrize(
    ("mode", "seen"),
    [("hangs_at_request", "no answer within"), ("drips_at_request", "an unfinished answer of")],
)
def test_timeout_is_for_the_whole_exchange(tmp_path: Path, mode: str, seen: str) -> None:
    with run_toy(tmp_path, mode) as toy:
        # a busy machine may need longer for the first byte
        causes = (get_cause(toy, timeout_s) for timeout_s in (0.5, 2.0, 10.0))
        assert any(seen in cause for cause in causes)


def test_connection_that_is_closed_says_so(tmp_path: Path) -> None:
    with run_toy(tmp_path, "closes_at_request") as toy:
        assert get_cause(toy) == "the server closed the connection without an answer"


def test_endless_answer_is_bounded(tmp_path: Path) -> None:
    with run_toy(tmp_path, "endless_body") as toy:
        assert "the answer is larger than" in get_cause(toy)


def test_nobody_listens(tmp_path: Path) -> None:
    with run_toy(tmp_path, "silent") as toy, pytest.raises(WarmupError) as caught:
        send_request(
            toy.server,
            toy.supervisor,
            port=toy.port,
            request=GENERATE,
            timeout_s=5,
            log_watch=toy.watch,
        )
    assert caught.value.cause == "connection refused"
    assert caught.value.log == str(toy.watch.path)


def test_cancelled_while_it_is_answered(tmp_path: Path) -> None:
    with run_toy(tmp_path, "hangs_at_request") as toy:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Cancelled):
            send(toy)


def test_line_break_in_a_header_is_refused(tmp_path: Path) -> None:
    request = RequestSpec(path="/x", headers={"X-Key": "a\r\nX-Other: b"})
    with run_toy(tmp_path, "ok") as toy, pytest.raises(WarmupError, match="cannot be sent"):
        send(toy, request)


def test_log_watch_is_shared_with_the_caller(tmp_path: Path) -> None:
    """What was seen before the request is not seen again."""
    with run_toy(tmp_path, "echo") as toy:
        toy.wait_until_listening()
        toy.watch = LogWatch(toy.watch.path, ["toy in mode"])
        assert toy.watch.poll() == "toy in mode echo"
        assert send(toy).status == 201


def send_all(toy: Toy, number: int, timeout_s: float = 60.0) -> list[Answer]:
    toy.wait_until_listening()
    return send_requests(
        toy.server,
        toy.supervisor,
        port=toy.port,
        requests=[RequestSpec(path="/generate", json=index) for index in range(number)],
        timeout_s=timeout_s,
        log_watch=toy.watch,
    )


def test_requests_of_one_step_are_sent_at_once_and_answered_in_their_order(tmp_path: Path) -> None:
    with run_toy(tmp_path, "echo_together", "16") as toy:
        answers = send_all(toy, 16)
    bodies = [answer.body.decode().partition("\r\n\r\n")[2] for answer in answers]
    assert bodies == [str(index) for index in range(16)]


def test_one_answer_that_does_not_come_fails_all(tmp_path: Path) -> None:
    with (
        run_toy(tmp_path, "echo_together", "3") as toy,
        pytest.raises(WarmupError, match="warm-up request POST /generate failed") as caught,
    ):
        send_all(toy, 2, timeout_s=1.0)
    assert (caught.value.cause or "").startswith("no answer within 1.")


def test_a_server_that_dies_of_a_burst_is_explained(tmp_path: Path) -> None:
    with run_toy(tmp_path, "dies_of_request") as toy, pytest.raises(WarmupError) as caught:
        send_all(toy, 8)
    assert (caught.value.cause or "").startswith("the leader exited with status 7")
