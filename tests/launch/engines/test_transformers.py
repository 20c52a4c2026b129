"""The adapter against the real thing: `transformers serve` on a tiny random model."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launch.helpers import get_request, judge, make_allocation, make_folder, make_launch
from tests.needs import require
from warmup.launch.engine import Allocation
from warmup.launch.engine_table import get_engine
from warmup.launch.launch import Launch
from warmup.words.errors import UsageError

ENGINE = get_engine("transformers")
START_DEADLINE_S = 90
REQUEST_DEADLINE_S = 60


def test_argv() -> None:
    launch = make_launch("transformers", tp=2, python="/py", trust_remote_code=True)
    assert ENGINE.get_argv(launch, make_allocation()) == [
        *("/py", "-m", "transformers.cli.transformers", "serve", "org/model"),
        *("--host", "127.0.0.1", "--port", "21000", "--trust-remote-code"),
    ]


def test_a_revision_pins_the_model_in_argv_and_request() -> None:
    launch = make_launch("transformers", revision="abc")
    assert "org/model@abc" in ENGINE.get_argv(launch, make_allocation())
    assert get_request(launch).json["model"] == "org/model@abc"


def test_a_base_model_without_chat_template_is_asked_to_complete(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "base", config={"architectures": ["LlamaForCausalLM"]})
    request = get_request(make_launch("transformers", str(folder)))
    assert request.path == "/v1/completions"
    assert request.json["model"] == str(folder)


def test_what_it_has_not_is_said_before_it_starts(tmp_path: Path) -> None:
    dummy = ENGINE.find_problem(make_launch("transformers", weights="dummy"))
    assert isinstance(dummy, UsageError)
    folder = make_folder(tmp_path / "a@b", config={})
    at = ENGINE.find_problem(make_launch("transformers", str(folder)))
    assert at is not None
    assert "revision" in at.what


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("python:transformers")
    folder = tmp_path_factory.mktemp("tiny") / "text"
    subprocess.run(
        [sys.executable, "-m", "warmup.engine.tiny.text", str(folder)],
        check=True,
        timeout=120,
        capture_output=True,
    )
    return folder


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@contextlib.contextmanager
def serve(launch: Launch, run_dir: Path) -> Iterator[tuple[subprocess.Popen[bytes], Allocation]]:
    """The adapter's own argv and environment, in a session that is ended whole."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    allocation = Allocation(port=port, run_dir=str(run_dir))
    env = {**os.environ, **ENGINE.get_env(launch, allocation), "HF_HUB_OFFLINE": "1"}
    with (run_dir / "server.log").open("wb") as log:
        process = subprocess.Popen(
            ENGINE.get_argv(launch, allocation),
            cwd=run_dir,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process, allocation
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def find_status(url: str) -> int | None:
    """The status of a GET; None while nobody answers."""
    import requests

    session = requests.Session()
    session.trust_env = False
    try:
        with session, session.get(url, timeout=10) as answer:
            return answer.status_code
    except requests.ConnectionError:
        return None


def send(launch: Launch, allocation: Allocation) -> tuple[int, bytes]:
    import requests

    spec = get_request(launch)
    session = requests.Session()
    session.trust_env = False
    url = f"http://127.0.0.1:{allocation.port}{spec.path}"
    with (
        session,
        session.request(spec.method, url, json=spec.json, timeout=REQUEST_DEADLINE_S) as answer,
    ):
        return answer.status_code, answer.content


def wait_until_ready(
    launch: Launch, allocation: Allocation, process: subprocess.Popen[bytes]
) -> list[int]:
    """Every status that was seen on the way to 200. Fails if the server exits first."""
    url = f"http://127.0.0.1:{allocation.port}{ENGINE.get_health_path(launch)}"
    deadline = time.monotonic() + START_DEADLINE_S
    seen: list[int] = []
    while time.monotonic() < deadline:
        assert process.poll() is None, (Path(allocation.run_dir) / "server.log").read_text()
        status = find_status(url)
        if status is not None:
            seen.append(status)
        if status == 200:
            return seen
        time.sleep(0.1)
    raise AssertionError((Path(allocation.run_dir) / "server.log").read_text())


def test_a_real_server_is_started_asked_and_judged_good(tiny_model: Path, run_dir: Path) -> None:
    launch = make_launch("transformers", str(tiny_model))
    assert ENGINE.find_problem(launch) is None
    with serve(launch, run_dir) as (process, allocation):
        # Refused until it is 200: nothing between.
        assert wait_until_ready(launch, allocation, process) == [200]
        status, body = send(launch, allocation)
        assert judge(launch, status, body) is None, body
        # Pinned: another model's name is an error, and the judge says so.
        other = make_launch("transformers", "org/other")
        status, body = send(other, allocation)
        assert "pinned" in str(judge(other, status, body))
        log = (run_dir / "server.log").read_text()
        assert not any(pattern in log for pattern in ENGINE.crash_patterns)


def test_a_model_that_cannot_generate_is_judged_bad(tiny_model: Path, run_dir: Path) -> None:
    """Healthy, and wrong at its first request: the chat template is broken."""
    folder = run_dir / "broken"
    folder.mkdir()
    for path in tiny_model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no chat') }}")
    launch = make_launch("transformers", str(folder))
    with serve(launch, run_dir) as (process, allocation):
        wait_until_ready(launch, allocation, process)
        status, body = send(launch, allocation)
        assert "HTTP 500" in str(judge(launch, status, body))


def test_a_taken_port_shows_as_a_crash_pattern(tiny_model: Path, run_dir: Path) -> None:
    launch = make_launch("transformers", str(tiny_model))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        allocation = Allocation(port=taken.getsockname()[1], run_dir=str(run_dir))
        done = subprocess.run(
            ENGINE.get_argv(launch, allocation),
            cwd=run_dir,
            env={**os.environ, **ENGINE.get_env(launch, allocation)},
            capture_output=True,
            timeout=START_DEADLINE_S,
            check=False,
        )
    assert done.returncode != 0
    log = (done.stdout + done.stderr).decode()
    assert any(pattern in log for pattern in ENGINE.crash_patterns)
