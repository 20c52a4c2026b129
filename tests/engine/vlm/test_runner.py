import json
from pathlib import Path
from typing import Any

import pytest
import torch

from warmup.engine.args import ServerArgs
from warmup.engine.messages import Failure, RankReply, Request
from warmup.engine.ranks import Ranks
from warmup.engine.shm.tensors import Handle
from warmup.engine.tiny import qwen2_5_vl
from warmup.engine.vlm.families import read_model
from warmup.engine.vlm.generation import Generation
from warmup.engine.vlm.runner import VlmRunner, get_stop_ids


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    qwen2_5_vl.make(path)
    return path


@pytest.fixture
def runner(model: Path) -> VlmRunner:
    args = ServerArgs(model=str(model), device="cpu", max_batch=2, max_model_len=64)
    return VlmRunner(args, Ranks(args, 0))


def _make(name: str, *, num: int = 3, first: int = 65, **changes: Any) -> Request:
    settings = {"ids": [first, 66, 67], "pixels": None, "grids": [], "max_tokens": num}
    generation = Generation(**{**settings, "ignore_eos": True, **changes})
    return Request(name, "generate", {"generation": generation})


def _run(runner: VlmRunner, *requests: Request) -> dict[str, list[RankReply]]:
    replies = runner.admit(list(requests))
    for _ in range(200):
        if not runner.has_work:
            break
        replies += runner.step()
    assert not runner.has_work and runner.get_stats()["requests_running"] == 0
    return {
        request.id: [reply for reply in replies if reply.id == request.id] for request in requests
    }


def _get_tokens(replies: list[RankReply]) -> list[int]:
    assert [reply.final for reply in replies] == [False] * (len(replies) - 1) + [True]
    return [reply.data.token for reply in replies]


def test_more_requests_than_rows_take_turns_and_answer_as_alone(runner: VlmRunner) -> None:
    requests = [_make(str(i), num=2 + i, first=70 + i) for i in range(5)]
    together = _run(runner, *requests)
    for request in requests:
        assert _get_tokens(together[request.id]) == _get_tokens(_run(runner, request)[request.id])
    assert [len(together[str(i)]) for i in range(5)] == [2, 3, 4, 5, 6]


def test_a_request_joins_while_another_decodes(runner: VlmRunner) -> None:
    alone = _get_tokens(_run(runner, _make("b", first=80))["b"])
    runner.admit([_make("a", num=20)])
    runner.step()
    replies = runner.admit([_make("b", first=80)])
    while runner.has_work:
        replies += runner.step()
    assert _get_tokens([reply for reply in replies if reply.id == "b"]) == alone


def test_an_aborted_request_frees_its_row_and_says_nothing_more(runner: VlmRunner) -> None:
    runner.admit([_make("a", num=50), _make("b", num=50), _make("waits", num=50)])
    runner.step()
    assert runner.get_stats()["requests_running"] == 2
    runner.abort("a")
    runner.abort("never heard of")
    assert "a" not in {reply.id for reply in runner.step()}
    assert runner.get_stats()["requests_running"] == 2
    runner.abort("b")
    runner.abort("waits")
    assert not runner.has_work


def test_one_bad_request_does_not_end_the_others(runner: VlmRunner) -> None:
    good = _make("good")
    bad = [
        _make("no such segment", pixels=Handle("gone", (16, 1176), "float32"), grids=[(1, 4, 4)]),
        _make("too long", ids=[65] * 65),
        _make("no image tokens", pixels=torch.zeros(16, 1176), grids=[(1, 4, 4)]),
    ]
    replies = _run(runner, *bad, good)
    for request in bad:
        (only,) = replies[request.id]
        assert only.final and only.failure is not None and only.failure.kind == "internal"
    assert len(_get_tokens(replies["good"])) == 3


def test_out_of_memory_is_one_requests_failure(
    runner: VlmRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefill = runner._model.prefill

    def fail_for_70(ids: list[int], *rest: Any) -> Any:
        logits = prefill(ids, *rest)
        if ids[0] == 70:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return logits

    monkeypatch.setattr(runner._model, "prefill", fail_for_70)
    replies = _run(runner, _make("a"), _make("b", first=70), _make("c"))
    assert replies["b"][0].failure == Failure("oom", "CUDA out of memory")
    assert _get_tokens(replies["a"]) == _get_tokens(replies["c"])


def test_copies_decode_together_and_answer_once(runner: VlmRunner) -> None:
    runner.admit([_make("a", copies=2, num=4)])
    assert runner.step() == []
    assert runner.get_stats()["requests_running"] == 2
    replies: list[RankReply] = []
    while runner.has_work:
        replies += runner.step()
    assert len(replies) == 1 and replies[0].final and replies[0].data.finish == "length"
    assert runner.get_stats()["decode_steps_total"] == 3


def test_copies_that_fail_answer_once(runner: VlmRunner) -> None:
    (only,) = _run(runner, _make("a", copies=2, ids=[65] * 65))["a"]
    assert only.failure is not None


def test_the_models_own_stop_token_ends_an_answer(
    runner: VlmRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = _get_tokens(_run(runner, _make("a", num=6))["a"])
    runner._stop_ids = frozenset([tokens[3]])
    ended = _run(runner, _make("b", num=6, ignore_eos=False))["b"]
    first = tokens.index(tokens[3])
    assert [reply.data.token for reply in ended] == [*tokens[:first], None]
    assert ended[-1].data.finish == "stop"


def test_warmups_are_not_counted_as_a_users(runner: VlmRunner) -> None:
    request = _make("a")
    _run(runner, Request(request.id, request.kind, request.payload, warmup=True))
    assert "generated_tokens_total" not in runner.get_stats()
    _run(runner, request)
    assert runner.get_stats()["generated_tokens_total"] == 3
    assert runner.get_stats()["prompt_tokens_total"] == 3


def test_stop_tokens_come_from_the_generation_config_or_the_model(
    model: Path, tmp_path: Path
) -> None:
    _, config = read_model(model)
    assert get_stop_ids(model, config) == {258}
    assert get_stop_ids(tmp_path, config) == {258}
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 6]}))
    assert get_stop_ids(tmp_path, config) == {5, 6}
