"""Failures of one request on one rank: the request's own, and never the server's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.diffusion.reference import make_local_runner
from warmup.engine.diffusion.params import Sampling
from warmup.engine.diffusion.runner import DiffusionRunner
from warmup.engine.messages import Failure, RankReply, Request


@pytest.fixture(scope="module")
def runner(tiny: Callable[[str], Path]) -> DiffusionRunner:
    return make_local_runner(tiny("sd3"))


def ask(runner: DiffusionRunner, **given: Any) -> RankReply:
    sampling = Sampling(**{"num_inference_steps": 1, **given})
    assert runner.admit([Request("1", "generate", {"given": sampling})]) == []
    assert runner.has_work
    (reply,) = runner.step()
    assert not runner.has_work
    return reply


def fail(runner: DiffusionRunner, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Failure:
    def predict(*_: Any, **__: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(runner.model, "predict", predict)
        failure = ask(runner, prompt="x").failure
    assert failure is not None
    return failure


def test_a_request_is_answered_by_a_png(runner: DiffusionRunner) -> None:
    reply = ask(runner, prompt="x")
    assert reply.final
    assert reply.data["media"][0].startswith(b"\x89PNG")


def test_out_of_memory_is_told_from_every_other_error(
    runner: DiffusionRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    oom = torch.OutOfMemoryError("CUDA out of memory")
    assert fail(runner, monkeypatch, oom).kind == "oom"
    cpu = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
    assert fail(runner, monkeypatch, cpu).kind == "oom"
    assert fail(runner, monkeypatch, RuntimeError("shapes differ")).kind == "internal"
    assert ask(runner, prompt="x").failure is None


def test_validation_names_its_field(runner: DiffusionRunner) -> None:
    failure = ask(runner, prompt="x", width=63).failure
    assert failure is not None
    assert (failure.kind, failure.field) == ("validation", "width")


def test_an_aborted_request_is_not_run(runner: DiffusionRunner) -> None:
    runner.admit([Request("gone", "generate", {"given": Sampling(prompt="x")})])
    runner.abort("gone")
    assert not runner.has_work
