from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.launch.helpers import (
    get_request,
    judge,
    make_allocation,
    make_folder,
    make_launch,
    make_pipeline,
)
from warmup.launch.engine_table import get_engine
from warmup.launch.requests import make_image_url

NAME = "sglang-diffusion"
ENGINE = get_engine(NAME)
PNG = make_image_url().partition(",")[2]


def test_argv_never_lets_it_serve_elsewhere() -> None:
    launch = make_launch(NAME, "org/image", tp=2, python="/py", trust_remote_code=True)
    allocation = make_allocation(num_extra_ports=ENGINE.num_extra_ports)
    assert ENGINE.get_argv(launch, allocation) == [
        *("/py", "-m", "sglang.multimodal_gen.runtime.entrypoints.cli.main", "serve"),
        *("--model-path", "org/image", "--num-gpus", "2"),
        *("--host", "127.0.0.1", "--port", "21000", "--strict-ports", "true"),
        *("--master-port", "21002", "--scheduler-port", "21003", "--trust-remote-code", "true"),
    ]


def test_the_brokers_port_is_leased_and_left_to_it() -> None:
    """sglang 0.5.23 opens `--port` + 1 unasked; where it is taken `/health` is 503 for ever."""
    launch = make_launch(NAME, "org/image", fallback_args=["--dp", "8"])
    allocation = make_allocation(num_extra_ports=ENGINE.num_extra_ports)
    argv = ENGINE.get_argv(launch, allocation)
    master = int(argv[argv.index("--master-port") + 1])
    scheduler = int(argv[argv.index("--scheduler-port") + 1])
    taken = {master, *range(scheduler, scheduler + 8)}
    assert allocation.port + 1 in allocation.extra_ports
    assert taken <= set(allocation.extra_ports) - {allocation.port + 1}
    assert len(taken) == 9


@pytest.mark.parametrize(
    "error",
    ["Offline request broker exited; restart the server.",
     "Disaggregation router exited; restart the server.",
     "Scheduler worker exited; restart the server."],
)  # fmt: skip
def test_its_final_words_are_crash_patterns(error: str) -> None:
    body = json.dumps({"status": "unhealthy", "error": error})
    assert any(pattern in body for pattern in ENGINE.crash_patterns)


@pytest.mark.parametrize(
    ("model", "path", "has_image"),
    [
        ("black-forest-labs/FLUX.1-dev", "/v1/images/generations", False),
        ("Qwen/Qwen-Image", "/v1/images/generations", False),
        ("Qwen/Qwen-Image-Edit", "/vertex_generate", True),
        ("Wan-AI/Wan2.1-T2V-1.3B-Diffusers", "/vertex_generate", False),
        ("Wan-AI/Wan2.1-I2V-14B-480P-Diffusers", "/vertex_generate", True),
    ],
)
def test_the_request_suits_the_task(model: str, path: str, has_image: bool) -> None:
    request = get_request(make_launch(NAME, model))
    assert request.path == path
    assert ("data:image/png" in json.dumps(request.json)) == has_image


def test_a_folder_is_judged_by_its_pipeline_not_its_name(tmp_path: Path) -> None:
    folder = make_pipeline(tmp_path / "wan-video-edit", "StableDiffusion3Pipeline")
    request = get_request(make_launch(NAME, str(folder)))
    assert request.path == "/v1/images/generations"


def test_answers_are_judged_by_what_was_asked() -> None:
    image = json.dumps({"data": [{"b64_json": PNG}]}).encode()
    video = json.dumps({"predictions": [{"output": PNG}]}).encode()
    assert judge(make_launch(NAME, "a/image"), 200, image) is None
    assert judge(make_launch(NAME, "a/image"), 200, video) is not None
    assert judge(make_launch(NAME, "a/Wan-T2V"), 200, video) is None
    failed = b'{"predictions": [{"error": "out of memory"}]}'
    assert "out of memory" in str(judge(make_launch(NAME, "a/Wan-T2V"), 200, failed))


def test_problems(tmp_path: Path) -> None:
    dummy = ENGINE.find_problem(make_launch(NAME, weights="dummy"))
    assert dummy is not None
    folder = str(make_folder(tmp_path / "native"))
    problem = ENGINE.find_problem(make_launch(NAME, folder))
    assert problem is not None
    assert "model_index.json" in problem.what
    named = make_launch(NAME, folder, fallback_args=["--pipeline-class-name", "Flux3Pipeline"])
    assert ENGINE.find_problem(named) is None
