"""Real servers of tiny diffusion models, spoken to over HTTP."""

from __future__ import annotations

import base64
import contextlib
import io
import socket
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image

from tests.engine.diffusion.reference import make_local_runner, make_picture, read_frames
from tests.engine.server_process import ServerProcess, run_server, send_until_answered
from warmup.engine.diffusion.params import Sampling, merge

Tiny = Callable[[str], Path]
GENERATIONS = "/v1/images/generations"
EDITS = "/v1/images/edits"
VIDEOS = "/v1/videos"
PICTURE = f"data:image/png;base64,{base64.b64encode(make_picture()).decode()}"
WARMUP_CI = (sys.executable, "-m", "warmup", "serve")


def get_media(answer: Any) -> bytes:
    return base64.b64decode(answer["data"][0]["b64_json"], validate=True)


@pytest.fixture(scope="module")
def parallel(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """sd3 over two ranks, CFG parallel."""
    log = tmp_path_factory.mktemp("parallel") / "log"
    argv = ("--model", str(tiny("sd3")), "--num-gpus", "2", "--enable-cfg-parallel")
    with run_server(log, *argv, "--warmup-resolutions", "64x64,96x64") as server:
        server.wait_ready()
        yield server


@pytest.fixture(scope="module")
def edit(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """qwen-image-edit on one rank, started as a user starts it."""
    folder = tmp_path_factory.mktemp("edit")
    argv = ("--model", str(tiny("qwen-image-edit")), "--input-save-path", str(folder / "in"))
    with run_server(folder / "log", *argv, program=WARMUP_CI) as server:
        server.wait_ready()
        yield server


def test_both_shapes_were_warmed(parallel: ServerProcess) -> None:
    info = parallel.get("/server_info")[1]
    assert info["warmup"]["done"] == ["64x64", "96x64"]
    assert info["degraded"] is False


def test_two_ranks_make_the_picture_that_one_makes(parallel: ServerProcess, tiny: Tiny) -> None:
    body: dict[str, Any] = {
        "prompt": "warm", "negative_prompt": "cold", "guidance_scale": 4.0, "seed": 5,
        "num_inference_steps": 3,
    }  # fmt: skip
    status, answer = parallel.post(GENERATIONS, {**body, "size": "96x64"})
    assert status == 200
    runner = make_local_runner(tiny("sd3"))
    given = Sampling(**body, width=96, height=64)
    alone = runner.generate(merge(given, runner.model.parts.defaults))["media"][0]
    ours, theirs = read_frames(get_media(answer)), read_frames(alone)
    assert ours.shape == (1, 64, 96, 3)
    # Threads differ between the two, so sums do; a step of 255 or two may fall either way.
    assert numpy.abs(ours - theirs).max() <= 2.01 / 255


def test_guidance_off_is_refused_with_reasons(parallel: ServerProcess) -> None:
    status, answer = parallel.post(GENERATIONS, {"prompt": "x", "guidance_scale": 1.0})
    assert status == 400
    message = answer["error"]["message"]
    for said in ("--enable-cfg-parallel", "do_classifier_free_guidance=False", "not set"):
        assert said in message
    assert parallel.post(GENERATIONS, {"prompt": "x"})[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (GENERATIONS, {}, "prompt"),
        (GENERATIONS, {"prompt": "x", "num_inference_steps": 0}, "num_inference_steps"),
        (GENERATIONS, {"prompt": "x", "guidance_scale": "high"}, "guidance_scale"),
        (GENERATIONS, {"prompt": "x", "size": "17x64"}, "width"),
        (GENERATIONS, {"prompt": "x", "size": "foo"}, "size"),
        (GENERATIONS, [], "body"),
        (EDITS, {"prompt": "x", "image": PICTURE}, "image"),
        (VIDEOS, {"prompt": "x"}, "model"),
    ],
)
def test_a_wrong_parameter_is_a_400_with_its_field(
    parallel: ServerProcess, path: str, body: Any, field: str
) -> None:
    status, answer = parallel.post(path, body)
    assert (status, answer["error"]["param"]) == (400, field)
    assert answer["error"]["message"]
    assert parallel.get("/health_generate")[0] == 200


def test_an_edit_answers_with_a_png(edit: ServerProcess) -> None:
    status, answer = edit.post(EDITS, {"prompt": "warmer", "image": PICTURE, "size": "80x64"})
    assert status == 200
    with Image.open(io.BytesIO(get_media(answer))) as opened:
        assert (opened.format, opened.size) == ("PNG", (80, 64))


def test_an_edit_as_a_form(edit: ServerProcess) -> None:
    fields = {"prompt": "warmer", "num_inference_steps": "1"}
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = '--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    body = b"".join([*parts, head.encode(), make_picture(), b"\r\n--b--\r\n"])
    connection = HTTPConnection("127.0.0.1", edit.port, timeout=60)
    with contextlib.closing(connection):
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        connection.request("POST", EDITS, body, headers)
        response = connection.getresponse()
        assert (response.status, b"b64_json" in response.read()) == (200, True)


def test_a_chunked_form_is_counted(edit: ServerProcess) -> None:
    """1.5 GB once went to /tmp: a form without a length was not counted."""
    head = f"POST {EDITS} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    head += "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    with socket.create_connection(("127.0.0.1", edit.port), timeout=60) as stream:
        stream.sendall(head.encode() + b"%x\r\n%s\r\n" % (len(part), part))
        chunk = b"%x\r\n%s\r\n" % (1 << 20, bytes(1 << 20))
        assert send_until_answered(stream, chunk, 512 << 20) < 128 << 20
        answer = b""
        while b"}" not in answer:
            answer += stream.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400 ") and b"larger than 64 MiB" in answer


@pytest.mark.parametrize("field", ["width", "height"])
def test_a_size_that_the_model_cannot_make_is_a_400(parallel: ServerProcess, field: str) -> None:
    """The tiny model has positions for 1024 pixels a side."""
    body = {"prompt": "x", "width": 64, "height": 64, "num_inference_steps": 1, field: 1040}
    status, answer = parallel.post(GENERATIONS, body)
    assert (status, answer["error"]["param"]) == (400, field)
    assert "at most 1024" in answer["error"]["message"]
    assert parallel.get("/health_generate")[0] == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": "x"}, "image"),
        ({"prompt": "", "image": PICTURE}, "prompt"),
        ({"prompt": "x", "image": base64.b64encode(b"no picture").decode()}, "image"),
        ({"prompt": "x", "image": base64.b64encode(make_picture()[:99]).decode()}, "image"),
        ({"prompt": "x", "image": "https://example.org/a.png"}, "image"),
    ],
)
def test_a_wrong_image_is_a_400(edit: ServerProcess, body: Any, field: str) -> None:
    status, answer = edit.post(EDITS, body)
    assert (status, answer["error"]["param"]) == (400, field)
    assert edit.get("/health_generate")[0] == 200


def test_the_warmup_image_is_kept_where_it_was_asked_for(edit: ServerProcess) -> None:
    folder = edit.log.parent / "in"
    assert [each.name for each in folder.iterdir()] == ["warmup_image_64x64.png"]
    assert edit.get("/server_info")[1]["warmup"]["done"] == ["64x64 with image"]


def test_usage_errors_start_nothing(tiny: Tiny, tmp_path: Path) -> None:
    for argv, said in (
        (("--enable-cfg-parallel",), "num_gpus == 1"),
        (("--warmup-resolutions", "foo"), "'foo' is not a resolution"),
        (("--warmup-sampling-params", '{"x": 1}'), "unknown key 'x'"),
    ):
        with run_server(tmp_path / "log", "--model", str(tiny("sd3")), *argv) as server:
            assert server.wait_exit(20) == 2
            assert said in server.text
            assert server.text.startswith("error: ")
            assert "Traceback" not in server.text


def test_a_resolution_that_cannot_be_warmed_aborts(tiny: Tiny, tmp_path: Path) -> None:
    argv = ("--model", str(tiny("sd3")), "--warmup-resolutions", "64x64", "100x100")
    with run_server(tmp_path / "log", *argv) as server:
        assert server.wait_exit(60) == 1
        assert "Server warmup failed; aborting startup: 100x100: width" in server.text


@pytest.mark.slow
def test_guidance_off_is_served_where_policy_says_so(tiny: Tiny, tmp_path: Path) -> None:
    argv = ("--model", str(tiny("sd3")), "--num-gpus", "2", "--cfg-parallel-size", "2")
    with run_server(tmp_path / "log", *argv, "--cfg-off-policy", "serve") as server:
        server.wait_ready()
        for _ in range(2):
            assert server.post(GENERATIONS, {"prompt": "x", "guidance_scale": 1.0})[0] == 200
        assert server.post(GENERATIONS, {"prompt": "x"})[0] == 200
        assert server.text.count("without guidance on a CFG-parallel server") == 1


@pytest.mark.slow
def test_a_video_is_an_animated_png(tiny: Tiny, tmp_path: Path) -> None:
    argv = ("--model", str(tiny("wan-i2v")), "--num-gpus", "2", "--enable-cfg-parallel")
    with run_server(tmp_path / "log", *argv) as server:
        server.wait_ready()
        status, answer = server.post(VIDEOS, {"prompt": "x", "image": PICTURE})
        assert status == 200
        assert answer["object"] == "video"
        assert read_frames(get_media(answer)).shape == (9, 64, 64, 3)
        assert server.post(GENERATIONS, {"prompt": "x"})[0] == 400


@pytest.mark.slow
def test_flux2_with_and_without_an_image(tiny: Tiny, tmp_path: Path) -> None:
    argv = ("--model", str(tiny("flux2")), "--load-format", "dummy")
    with run_server(tmp_path / "log", *argv) as server:
        server.wait_ready()
        assert server.get("/server_info")[1]["warmup"]["done"] == ["64x64", "64x64 with image"]
        assert server.post(GENERATIONS, {"prompt": "x"})[0] == 200
        assert server.post(EDITS, {"prompt": "x", "image": PICTURE})[0] == 200


@pytest.mark.slow
def test_torch_compile_fills_inductors_cache(tiny: Tiny, tmp_path: Path) -> None:
    cache = tmp_path / "inductor"
    env = {"TORCHINDUCTOR_CACHE_DIR": str(cache)}
    argv = ("--model", str(tiny("sd3")), "--torch-compile")
    with run_server(tmp_path / "log", *argv, env=env) as server:
        server.wait_ready()
        assert server.post(GENERATIONS, {"prompt": "x"})[0] == 200
        assert any(cache.rglob("*.so"))
