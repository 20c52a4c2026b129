"""The states of a server and what its ranks' deaths do to it, over a toy model in real ranks."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.engine.server_process import (
    TOY,
    ServerProcess,
    is_alive,
    run_server,
    wait_dead,
    wait_for,
)

READY_LINE = "The server is fired up and ready to roll!"
# A client that believed these would never reach itself.
PROXIES = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}


def write_warmups(folder: Path, *warmups: dict[str, Any]) -> Path:
    (folder / "warmups.json").write_text(json.dumps(warmups))
    return folder


def start_thread(work: Any) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    return thread, results


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Two ranks, ready; tests that share it leave it ready."""
    folder = write_warmups(
        tmp_path_factory.mktemp("pair"),
        {"name": "one", "payload": {"value": 1}},
        {"name": "big", "payload": {"act": {"1": "oom"}}, "smaller": [{"act": {}}]},
    )
    argv = ("--model", str(folder), "--tp", "2", "--warmup-fail-policy", "abort")
    with run_server(folder / "log", *argv, program=TOY, env=PROXIES) as server:
        server.wait_ready()
        yield server


def test_ready_is_said_once_and_after_the_warmups(pair: ServerProcess) -> None:
    assert pair.text.count(READY_LINE) == 1
    before, _, _ = pair.text.partition(READY_LINE)
    assert before.index("HTTP is up") < before.index("warm-up one took")


def test_out_of_memory_on_any_rank_retries_smaller(pair: ServerProcess) -> None:
    warmup = pair.get("/server_info")[1]["warmup"]
    assert warmup["done"] == ["one", "big"]
    assert warmup["retries"] == 1


def test_a_failure_of_one_rank_is_the_requests_alone(pair: ServerProcess) -> None:
    status, body = pair.post("/toy", {"act": {"1": "fail"}})
    assert status == 500
    assert body["error"]["message"] == "rank 1: fail"
    assert pair.post("/toy", {"value": 5}) == (200, {"value": 5})
    assert pair.get("/health_generate") == (200, {"status": "ok"})


def test_users_metrics_count_no_warmup(pair: ServerProcess) -> None:
    pair.post("/toy", {"value": 1})
    metrics = pair.get("/metrics")[1].decode()
    counts = [line for line in metrics.splitlines() if line.startswith("requests_total")]
    assert any('path="/toy",status="200"' in line for line in counts)
    # The ranks saw two warm-ups (one of them twice) more than the user sent.
    ranks_saw = float(metrics.split("\ntoy_requests_total ")[1].split()[0])
    assert ranks_saw == sum(float(line.split()[-1]) for line in counts if "/toy" in line) + 3


def test_facts_are_served(pair: ServerProcess) -> None:
    assert pair.get("/model_info")[1]["toy"] is True
    info = pair.get("/server_info")[1]
    assert info["state"] == "ready"
    assert sorted(each["pid"] for each in info["ranks"]) == sorted(pair.get_ranks())
    assert pair.get("/v1/models")[1]["data"][0]["id"]


def test_death_after_ready_is_unhealthy_and_wakes_who_waits(tmp_path: Path) -> None:
    argv = ("--model", str(tmp_path), "--tp", "2")
    with run_server(tmp_path / "log", *argv, program=TOY) as server:
        server.wait_ready()
        ranks = server.get_ranks()
        slow = {"act": {"0": "sleep", "1": "sleep"}, "sleep_s": 60}
        thread, answers = start_thread(lambda: server.post("/toy", slow))
        wait_for(lambda: "requests_waiting 1" in server.get("/metrics")[1].decode(), "a call")
        victim = server.get("/server_info")[1]["ranks"][1]["pid"]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: server.get("/health")[0] == 503, "503", deadline_s=15)
        thread.join(10)
        status, body = answers[0]
        assert status == 503
        assert "rank 1 ended with exit code -9 (SIGKILL)" in body["error"]["message"]
        assert server.post("/toy", {"value": 1})[0] == 503
        assert server.get("/liveness")[0] == 200
        assert server.get("/server_info")[1]["state"] == "unhealthy"
        assert server.get("/health_generate")[0] == 503
        for pid in ranks:
            wait_dead(pid)
        assert server.stop() == 143


def test_death_before_ready_ends_startup_with_its_exit_code(tmp_path: Path) -> None:
    argv = ("--model", str(tmp_path), "--tp", "2")
    env = {"TOY_LOAD_DIES_ON": "1"}
    with run_server(tmp_path / "log", *argv, program=TOY, env=env) as server:
        assert server.wait_exit(30) == 1
        assert "Server start failed: rank 1 ended with exit code 7" in server.text
        assert "HTTP is up" not in server.text


def test_a_model_that_one_rank_cannot_load_ends_all(tmp_path: Path) -> None:
    argv = ("--model", str(tmp_path), "--tp", "2")
    env = {"TOY_LOAD_FAILS_ON": "1"}
    with run_server(tmp_path / "log", *argv, program=TOY, env=env) as server:
        assert server.wait_exit(30) == 1
        assert "Server start failed: rank 1: toy weights are broken" in server.text


def test_death_in_warmup_aborts(tmp_path: Path) -> None:
    write_warmups(tmp_path, {"name": "deadly", "payload": {"act": {"0": "die"}}})
    with run_server(tmp_path / "log", "--model", str(tmp_path), program=TOY) as server:
        assert server.wait_exit(30) == 1
        assert "Server warmup failed; aborting startup: rank 0 ended" in server.text
        assert READY_LINE not in server.text


def test_failed_warmup_under_abort_ends_startup(tmp_path: Path) -> None:
    write_warmups(tmp_path, {"name": "bad", "payload": {"act": {"0": "fail"}}})
    argv = ("--model", str(tmp_path), "--warmup-fail-policy", "abort")
    with run_server(tmp_path / "log", *argv, program=TOY) as server:
        assert server.wait_exit(30) == 1
        assert "Server warmup failed; aborting startup: bad: fail" in server.text


def test_failed_warmups_under_continue_are_degraded(tmp_path: Path) -> None:
    """A failure, one that runs out of memory too often, and one that meets the deadline."""
    oom = {"act": {"0": "oom"}}
    write_warmups(
        tmp_path,
        {"name": "bad", "payload": {"act": {"0": "fail"}}, "smaller": [{"act": {}}]},
        {"name": "big", "payload": oom, "smaller": [oom] * 5},
        {"name": "slow", "payload": {"act": {"0": "sleep"}, "sleep_s": 3}},
    )
    argv = ("--model", str(tmp_path), "--warmup-deadline", "1.5")
    with run_server(tmp_path / "log", *argv, program=TOY) as server:
        server.wait_ready()
        info = server.get("/server_info")[1]
        assert info["degraded"] is True
        assert [each["name"] for each in info["warmup"]["failures"]] == ["bad", "big", "slow"]
        assert info["warmup"]["retries"] == 3
        assert "--warmup-deadline" in info["warmup"]["failures"][2]["reason"]


def test_requests_are_held_until_ready_and_then_answered(tmp_path: Path) -> None:
    write_warmups(tmp_path, {"name": "slow", "payload": {"act": {"0": "sleep"}, "sleep_s": 2}})
    with run_server(tmp_path / "log", "--model", str(tmp_path), program=TOY) as server:
        server.wait_live()
        assert server.get("/health") == (503, {"status": "warming_up"})
        assert server.get("/health_generate") == (503, {"status": "warming_up"})
        assert server.get("/liveness")[0] == 200
        assert server.get("/model_info")[0] == 200
        assert server.get("/server_info")[1]["state"] in ("live", "warming")
        assert server.post("/toy", {"value": 8}) == (200, {"value": 8})
        assert READY_LINE in server.text


def test_request_mode_runs_a_copy_of_the_first_request_once(tmp_path: Path) -> None:
    argv = ("--model", str(tmp_path), "--warmup-mode", "request")
    with run_server(tmp_path / "log", *argv, program=TOY) as server:
        server.wait_ready()
        server.post("/toy", {"value": 1})
        server.post("/toy", {"value": 2})
        assert "toy_requests_total 3\n" in server.get("/metrics")[1].decode()


@pytest.mark.parametrize("state", ["starting", "warming", "ready"])
def test_sigterm_at_any_state_is_a_clean_end(tmp_path: Path, state: str) -> None:
    write_warmups(tmp_path, {"name": "slow", "payload": {"act": {"0": "sleep"}, "sleep_s": 60}})
    argv = ["--model", str(tmp_path), "--tp", "2"]
    if state == "ready":
        argv += ["--warmup", "false"]
    with run_server(tmp_path / "log", *argv, program=TOY) as server:
        if state == "starting":
            wait_for(lambda: len(server.get_ranks()) == 2, "two ranks")
        elif state == "warming":
            server.wait_live()
        else:
            server.wait_ready()
        ranks = server.get_ranks()
        assert server.stop() == 143
        assert not any(is_alive(pid) for pid in ranks)
        assert "Traceback" not in server.text
        if state == "ready":
            # Asked, not killed.
            assert server.text.count("toy runner closed") == 2


def test_dist_timeout_holds_for_gloo_and_not_for_idleness(tmp_path: Path) -> None:
    """gloo alone waits half an hour for a rank that hangs (sglang#39469)."""
    argv = ("--model", str(tmp_path), "--tp", "2", "--dist-timeout", "2")
    with run_server(tmp_path / "log", *argv, program=TOY) as server:
        server.wait_ready()
        idle_until = time.monotonic() + 3
        wait_for(lambda: time.monotonic() > idle_until, "idleness beyond the timeout")
        assert server.post("/toy", {"value": 1})[0] == 200
        status, body = server.post("/toy", {"act": {"1": "sleep"}, "sleep_s": 60})
        assert status == 503
        assert "rank 0 ended with exit code 1" in body["error"]["message"]
        assert server.get("/health")[0] == 503


def test_ranks_end_when_the_server_is_killed(tmp_path: Path) -> None:
    """In the middle of a step, where no collective tells them."""
    busy = {"act": {"0": "sleep", "1": "sleep"}, "sleep_s": 600}
    write_warmups(tmp_path, {"name": "long", "payload": busy})
    argv = ("--model", str(tmp_path), "--tp", "2")
    with run_server(tmp_path / "log", *argv, program=TOY) as server:
        server.wait_live()
        waiting = "requests_waiting 1"
        wait_for(lambda: waiting in server.get("/metrics")[1].decode(), "a warm-up")
        ranks = server.get_ranks()
        server.process.kill()
        server.wait_exit(10)
        for pid in ranks:
            wait_dead(pid)


def test_a_taken_port_is_said_before_any_rank_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = (*TOY, "--model", str(tmp_path), "--port", port)
        server = ServerProcess(tmp_path / "log", command, {})
        assert server.wait_exit(20) == 3
        assert f"error: cannot listen on 127.0.0.1:{port}" in server.text


ATTACK = """
import os, sys, threading, torch.distributed as dist

def attack(port):
    print(port, dist.TCPStore("127.0.0.1", port).get("rank0"), flush=True)

threads = [threading.Thread(target=attack, args=(int(p),), daemon=True) for p in sys.argv[1:]]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(2)  # what is no store keeps its caller waiting
os._exit(0)
"""


def test_no_port_of_a_rank_is_a_store(pair: ServerProcess) -> None:
    """Any user of this host can connect to a port of loopback, and rewrite what it offers."""
    ports = set()
    for pid in (pair.process.pid, *pair.get_ranks()):
        for each in psutil.Process(pid).net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN:
                ports.add(str(each.laddr.port))
    ports.discard(str(pair.port))
    argv = [sys.executable, "-c", ATTACK, *ports]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == ""
    assert pair.get("/health_generate")[0] == 200
