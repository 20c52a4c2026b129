"""Two gloo ranks behind HTTP: image features by shared memory, and what goes wrong with them."""

import concurrent.futures
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.engine.vlm.server import Server, make_content, make_part, make_png, serve
from warmup.engine.tiny import qwen2_5_vl


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    qwen2_5_vl.make(path)
    return path


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Rank 1 opens each batch 10 ms after the broadcast: the order has to hold, not luck."""
    folder = tmp_path_factory.mktemp("server")
    with serve(model, folder, "--tp", "2", WARMUP_CI_FAULT_SHM_DELAY="1:0.01") as ready:
        yield ready


def test_one_barrier_per_image_batch_and_none_for_text(server: Server) -> None:
    before = server.get_metric("shm_barriers_total")
    assert server.chat("words alone").status_code == 200
    assert server.get_metric("shm_barriers_total") == before
    assert server.chat(make_content(1)).status_code == 200
    server.wait_for_metric("shm_barriers_total", before + 1)
    two = [*make_content(2), *make_content(3)]
    assert server.chat(two).status_code == 200
    server.wait_for_metric("shm_barriers_total", before + 2)
    assert server.chat("words again").status_code == 200
    assert server.get_metric("shm_barriers_total") == before + 2


def test_two_ranks_draw_what_one_draws(
    server: Server, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def ask(of: Server, seed: int) -> str:
        fields = {"temperature": 0.8, "top_p": 0.95, "top_k": 200, "seed": seed}
        answer = of.chat(make_content(seed), max_tokens=24, ignore_eos=True, **fields)
        text: str = answer.json()["choices"][0]["message"]["content"]
        return text

    with serve(model, tmp_path_factory.mktemp("one")) as one:
        alone = [ask(one, seed) for seed in range(4)]
    assert [ask(server, seed) for seed in range(4)] == alone
    assert len(set(alone)) == 4


def test_concurrent_image_requests_all_get_their_own_answer(server: Server) -> None:
    """200 of 8 kinds: equal requests get equal answers, whatever they were batched with."""
    contents = [make_content(seed, f"number {seed}") for seed in range(8)]
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda i: server.chat(contents[i % 8]), range(200)))
    assert {answer.status_code for answer in answers} == {200}
    texts = [answer.json()["choices"][0]["message"]["content"] for answer in answers]
    assert all(texts[i] == texts[i % 8] for i in range(200))
    assert len(set(texts)) > 1
    assert "FileNotFoundError" not in server.log.read_text()
    assert server.list_segments() == []


def test_a_client_that_leaves_mid_stream_frees_its_slot(server: Server) -> None:
    answer = server.chat(make_content(5), stream=True, max_tokens=1500, ignore_eos=True)
    assert answer.status_code == 200
    next(answer.iter_lines())
    server.wait_for_metric("requests_running", 1)
    answer.close()
    server.wait_for_metric("requests_running", 0)
    assert server.get_metric("generated_tokens_total") < 1500
    assert server.chat("still there").status_code == 200


def test_a_client_that_leaves_without_a_stream_frees_its_slot(server: Server) -> None:
    with pytest.raises(requests.ReadTimeout):
        server.chat("a long answer", timeout=0.5, max_tokens=1500, ignore_eos=True)
    server.wait_for_metric("requests_running", 0)
    assert server.chat("still there").status_code == 200


def test_an_image_that_is_bad_for_one_rank_is_bad_for_all(server: Server) -> None:
    assert server.chat([make_part(make_png(64, 64)[:200])]).status_code == 400
    assert server.chat(make_content(9)).status_code == 200


@pytest.fixture(scope="module")
def slow_server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Rank 1 takes a second before it opens anything: time enough for mischief."""
    folder = tmp_path_factory.mktemp("slow_server")
    flags = ("--tp", "2", "--warmup", "false")
    with serve(model, folder, *flags, WARMUP_CI_FAULT_SHM_DELAY="1:1") as ready:
        yield ready


def test_only_the_request_that_a_rank_cannot_open_fails(slow_server: Server) -> None:
    """One feature vanishes while rank 1 sleeps; its neighbour in the same batch does not."""
    server = slow_server
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        pending = [pool.submit(server.chat, make_content(seed)) for seed in (1, 2)]
        _wait_until(lambda: bool(server.list_segments()))
        (Path("/dev/shm") / server.list_segments()[0]).unlink()
        answers = [each.result() for each in pending]
    failed = [answer for answer in answers if answer.status_code != 200]
    assert len(failed) == 1 and failed[0].status_code == 500
    message = failed[0].json()["error"]["message"]
    assert "rank" in message and "image features could not be opened" in message
    assert server.get("/health").status_code == 200
    assert server.chat("words").status_code == 200


def test_a_rank_that_dies_ends_health_and_wakes_who_waits(slow_server: Server) -> None:
    """Of five, one image has not been opened yet when rank 1 is killed: nothing of it is left."""
    server = slow_server
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        wish = {"max_tokens": 1900, "ignore_eos": True}
        contents = ["text", make_content(1), "text", make_content(2)]
        pending = [pool.submit(server.chat, content, **wish) for content in contents]
        server.wait_for_metric("requests_running", 4)
        pending.append(pool.submit(server.chat, make_content(3), **wish))
        _wait_until(lambda: len(server.list_segments()) == 1)
        os.kill(server.get_rank_pid(1), signal.SIGKILL)
        _wait_until(lambda: server.get("/health").status_code == 503, within_s=3)
        answers = [each.result(timeout=10) for each in pending]
    assert {answer.status_code for answer in answers} == {503}
    assert "rank 1" in answers[0].json()["error"]["message"]
    assert server.get("/liveness").status_code == 200
    assert server.chat(make_content(4)).status_code == 503
    _wait_until(lambda: server.list_segments() == [])


def _wait_until(is_true: Callable[[], bool], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
