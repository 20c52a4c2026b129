"""One rank behind HTTP: answers, streams, bad input, warm-up."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.engine.vlm.server import Server, make_content, make_part, make_png, serve
from warmup.engine.tiny import qwen2_5_vl

USER = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    qwen2_5_vl.make(path)
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("media")
    (path / "image.png").write_bytes(make_png(64, 64, 7))
    return path


@pytest.fixture(scope="module")
def server(model: Path, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    left = _leave_a_segment()
    with serve(model, folder, "--allowed-media-root", str(root), "--max-batch", "3") as ready:
        assert not left.exists()  # the sweep at start
        yield ready


def _leave_a_segment() -> Path:
    """Of a process that is dead before anyone could remove it."""
    code = "from warmup.engine.shm import segment; print(segment.create(memoryview(b'abc')))"
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    path = Path("/dev/shm") / done.stdout.strip()
    assert path.exists()
    return path


def _generate_theirs(model: Path, ids: list[int], image: Any, num_tokens: int) -> list[int]:
    import torch
    from transformers import AutoModelForImageTextToText
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    made = Qwen2VLImageProcessorPil.from_pretrained(model)(image, return_tensors="pt")
    tokens = torch.tensor([ids])
    out = AutoModelForImageTextToText.from_pretrained(model).generate(
        input_ids=tokens, mm_token_type_ids=(tokens == 261).int(), **made,
        max_new_tokens=num_tokens, do_sample=False,
    )  # fmt: skip
    return out[0, len(ids) :].tolist()


def test_an_answer_is_what_transformers_generates(server: Server, model: Path) -> None:
    from PIL import Image
    from transformers import AutoTokenizer

    data = make_png(90, 64, 3)
    body = server.chat([make_part(data), {"type": "text", "text": "what?"}], max_tokens=8).json()
    tokenizer = AutoTokenizer.from_pretrained(model)
    text = (
        "<|im_start|>user\n<|vision_start|>{}<|vision_end|>what?<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = tokenizer(text.format("<|image_pad|>" * 6))["input_ids"]
    made = _generate_theirs(model, ids, Image.open(io.BytesIO(data)), 8)
    assert body["choices"][0]["message"]["content"] == tokenizer.decode(
        made, skip_special_tokens=True
    )
    assert body["choices"][0]["finish_reason"] in ("stop", "length")
    assert body["usage"]["prompt_tokens"] == len(ids)
    assert (
        body["object"] == "chat.completion"
        and body["model"] == server.get("/v1/models").json()["data"][0]["id"]
    )


def test_the_models_list_has_one_entry_with_the_models_length(server: Server, model: Path) -> None:
    (card,) = server.get("/v1/models").json()["data"]
    assert (card["id"], card["object"], card["max_model_len"]) == (model.name, "model", 2048)


def _read_events(answer: requests.Response) -> list[Any]:
    lines = [line for line in answer.iter_lines() if line]
    assert all(line.startswith(b"data: ") for line in lines) and lines[-1] == b"data: [DONE]"
    return [json.loads(line[6:]) for line in lines[:-1]]


def test_a_stream_tells_the_same_as_the_whole(server: Server) -> None:
    content = make_content(4)
    whole = server.chat(content, max_tokens=12, ignore_eos=True).json()
    options = {"include_usage": True}
    answer = server.chat(
        content, max_tokens=12, ignore_eos=True, stream=True, stream_options=options
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, usage = _read_events(answer)
    choices = [event["choices"][0] for event in events]
    assert choices[0]["delta"]["role"] == "assistant"
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    assert text == whole["choices"][0]["message"]["content"]
    assert [c["finish_reason"] for c in choices[:-1]] == [None] * (len(choices) - 1)
    assert choices[-1]["finish_reason"] == "length"
    assert usage["choices"] == [] and usage["usage"] == whole["usage"]
    assert whole["usage"]["completion_tokens"] == 12


def test_a_stop_string_ends_the_answer_before_it(server: Server) -> None:
    wish = {"max_tokens": 40, "ignore_eos": True}
    text = server.chat("tell me", **wish).json()["choices"][0]["message"]["content"]
    stop = text[5:7]
    body = server.chat("tell me", stop=stop, **wish).json()
    assert body["choices"][0]["message"]["content"] == text[: text.index(stop)]
    assert body["choices"][0]["finish_reason"] == "stop"
    server.wait_for_metric("requests_running", 0)


def test_local_files_only_under_the_root(server: Server, root: Path, tmp_path: Path) -> None:
    inside, outside = root / "image.png", tmp_path / "image.png"
    outside.write_bytes(inside.read_bytes())
    (root / "link.png").symlink_to(outside)
    os.mkfifo(root / "fifo.png")
    for url in (str(inside), inside.as_uri()):
        part = {"type": "image_url", "image_url": {"url": url}}
        assert server.chat([part]).status_code == 200, url
    for url in (
        str(outside),
        str(root / "link.png"),
        str(root / "fifo.png"),
        str(root / "missing.png"),
        f"{root}/../{root.name}x/image.png",
        str(root),
        "file:///etc/passwd",
        "http://127.0.0.1:1/image.png",
        "ftp://127.0.0.1/image.png",
        "image.png",
    ):
        part = {"type": "image_url", "image_url": {"url": url}}
        _check_refused(server.chat([part]), "messages[0].content[0].image_url.url")


def _check_refused(answer: requests.Response, field: str) -> None:
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == field and error["message"]
    assert error["type"] == "invalid_request_error"


def _make_png_header(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return head + data + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _make_text_bomb() -> bytes:
    """A text chunk of 200 MB in 200 KB, before the pixels."""
    body = b"key\0\0" + zlib.compress(bytes(200 << 20), 9)
    checksum = struct.pack(">I", zlib.crc32(b"zTXt" + body))
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + checksum
    return _make_png_header(64, 64, chunk)


def _make_flat(width: int, height: int) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("1", (width, height)).save(out, "PNG")
    return out.getvalue()


IMAGES: dict[str, Callable[[], bytes]] = {
    "not an image": lambda: b"hello, I am a picture",
    "empty": lambda: b"",
    "1x1": lambda: make_png(1, 1),
    "20000x20000": lambda: _make_flat(20000, 20000),
    "a claim of 2^31 pixels a side": lambda: _make_png_header(2**31 - 1, 2**31 - 1),
    "truncated": lambda: make_png(100, 100)[:-2000],
    "no pixels": lambda: _make_png_header(64, 64),
    "a text bomb": _make_text_bomb,
    "a thread": lambda: _make_flat(5000, 14),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_bad_image_is_a_400_that_names_it(server: Server, name: str) -> None:
    content = [{"type": "text", "text": "see"}, make_part(IMAGES[name]())]
    _check_refused(server.chat(content), "messages[0].content[1].image_url.url")
    assert server.get("/health").status_code == 200
    assert server.chat(make_content(1)).status_code == 200


def _get_peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


def test_a_small_body_of_large_images_costs_nothing(server: Server) -> None:
    """12 one-bit PNGs of 8000×8000, 125 KB together, once cost 100 s and 6 GB."""
    before = _get_peak_kib(server.process.pid)
    picture = make_part(_make_flat(8000, 8000))
    answer = server.chat([picture] * 12)
    _check_refused(answer, "messages")
    assert "768000000 pixels are too many: one request may bring 64000000" in answer.text
    assert _get_peak_kib(server.process.pid) - before < 64 << 10


HEADERS_ALONE = {
    "65 images are too many: one request may bring 64": (65, 64, 64),
    "128000000 pixels are too many": (2, 8000, 8000),
    "tokens long; the model takes 2048 with the answer": (32, 448, 448),
}


@pytest.mark.parametrize("said", HEADERS_ALONE)
def test_limits_are_found_in_headers(server: Server, said: str) -> None:
    """Images that have nothing but a header: to decode one would be another error."""
    number, width, height = HEADERS_ALONE[said]
    answer = server.chat([make_part(_make_png_header(width, height))] * number)
    _check_refused(answer, "messages")
    assert said in answer.text


BODIES: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({}, "messages"),
    "messages empty": ({"messages": []}, "messages"),
    "a message of text": ({"messages": ["hi"]}, "messages[0]"),
    "unknown role": ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages[0].role"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content"),
    "video": (
        {"messages": [{"role": "user", "content": [{"type": "video_url"}]}]},
        "messages[0].content[0].type",
    ),
    "no url": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages[0].content[0].image_url.url",
    ),
    "half a character": (
        {"messages": [{"role": "user", "content": "\ud800"}]},
        "messages[0].content",
    ),
    "10 MB of prompt": ({"messages": [{"role": "user", "content": "x " * 5_000_000}]}, "messages"),
    "just too long": ({"messages": [{"role": "user", "content": "x" * 2040}]}, "messages"),
    "a placeholder": ({"messages": [{"role": "user", "content": "<|image_pad|>"}]}, "messages"),
    "negative max_tokens": ({"messages": USER, "max_tokens": -1}, "max_tokens"),
    "no max_tokens": ({"messages": USER, "max_tokens": 0}, "max_tokens"),
    "max_tokens in words": ({"messages": USER, "max_tokens": "four"}, "max_tokens"),
    "max_tokens true": ({"messages": USER, "max_tokens": True}, "max_tokens"),
    "too many tokens": ({"messages": USER, "max_tokens": 2048}, "max_tokens"),
    "no temperature": ({"messages": USER, "temperature": -0.7}, "temperature"),
    "a share above all": ({"messages": USER, "temperature": 0.7, "top_p": 2}, "top_p"),
    "two answers": ({"messages": USER, "n": 2}, "n"),
    "tools": ({"messages": USER, "tools": [{}]}, "tools"),
    "stop": ({"messages": USER, "stop": [1]}, "stop"),
    "stream": ({"messages": USER, "stream": "yes"}, "stream"),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_a_400_that_names_the_field(server: Server, name: str) -> None:
    body, field = BODIES[name]
    _check_refused(server.post(body), field)
    _check_refused(server.post({**body, "stream": True} if name != "stream" else body), field)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_object_is_a_400(server: Server, body: bytes) -> None:
    url = f"{server.url}/v1/chat/completions"
    _check_refused(requests.post(url, data=body, timeout=30), "body")


def test_a_seed_repeats_a_sampled_answer_and_one_candidate_is_greedy(server: Server) -> None:
    def ask(**fields: Any) -> str:
        answer = server.chat("words", max_tokens=24, ignore_eos=True, **fields)
        text: str = answer.json()["choices"][0]["message"]["content"]
        return text

    greedy = ask()
    assert ask(temperature=0.9, top_k=1) == greedy
    sampled = ask(temperature=0.9, seed=3)
    assert sampled == ask(temperature=0.9, seed=3) != greedy
    assert len({ask(temperature=0.9) for _ in range(3)}) == 3, "each its own seed"


def test_after_all_that_the_server_is_healthy(server: Server) -> None:
    assert server.get("/health").status_code == 200
    assert server.chat(make_content(1)).status_code == 200
    assert server.get_metric("shm_barriers_total") == 0
    assert server.list_segments() == []


def test_warmup_covered_text_both_image_sizes_and_both_batch_sizes(server: Server) -> None:
    info = server.get("/server_info").json()
    assert info["degraded"] is False and info["warmup"]["mode"] == "server"
    assert info["warmup"]["done"] == [
        "text, decode at batch 1",
        "image 56x56",
        "image 224x224",
        "decode at batch 3",
        "chat over HTTP, streamed",
        "chat over HTTP, whole, sampled",
    ]
    facts = server.get("/model_info").json()
    assert facts["tp"] == 1 and facts["kernels"] == {} and facts["max_model_len"] == 2048


@pytest.mark.slow
def test_in_request_mode_the_first_image_is_run_twice_from_two_segments(
    model: Path, tmp_path: Path
) -> None:
    """One segment for both would be gone at the second (sglang#19784)."""
    with serve(model, tmp_path, "--warmup-mode", "request") as server:
        assert server.get_metric("decode_steps_total") == 0
        assert server.chat(make_content(1), ignore_eos=True).status_code == 200
        server.wait_for_metric("decode_steps_total", 6)
        assert server.get_metric("generated_tokens_total") == 4
        assert server.chat(make_content(2), ignore_eos=True).status_code == 200
        server.wait_for_metric("decode_steps_total", 9)


TINY_SHM = 'mount -t tmpfs -o size=16k tmpfs /dev/shm && exec "$0" "$@"'


@pytest.mark.slow
def test_a_tiny_dev_shm_is_slower_and_no_more(model: Path, tmp_path: Path) -> None:
    """As in a container that was given none: features go inline, and one warning says so."""
    within = ("unshare", "-m", "sh", "-c", TINY_SHM)
    probe = subprocess.run([*within, "true"], capture_output=True, timeout=20, check=False)
    if probe.returncode != 0:
        pytest.skip("this user may not mount")
    with serve(model, tmp_path, "--tp", "2", within=within) as server:
        for seed in range(3):
            assert server.chat(make_content(seed)).status_code == 200
        assert server.get_metric("shm_barriers_total") == 0
        assert server.log.read_text().count("no shared memory in /dev/shm") == 1
