"""Downloads by the real huggingface_hub, from a hub on this machine."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
from io import RawIOBase
from pathlib import Path

import psutil
import pytest

from tests.launch.helpers import make_launch
from tests.servers.hub import COMMIT, Hub, serve_hub
from warmup.launch.hub_cache import read_hub_files
from warmup.launch.hub_download import Wanted, download
from warmup.launch.launch import Launch
from warmup.words.errors import WarmupError

VLM = {
    "config.json": '{"architectures": ["Qwen2VLForConditionalGeneration"]}',
    "model.safetensors": "w",
    "tokenizer.json": "[]",
    "preprocessor_config.json": "{}",
    "chat_template.jinja": "j",
    "pytorch_model.bin": "the same weights again",
    "original/model.safetensors": "and again",
}
PIPELINE = {
    "model_index.json": json.dumps(
        {
            "_class_name": "StableDiffusion3Pipeline",
            "scheduler": ["diffusers", "X"],
            "transformer": ["diffusers", "SD3Transformer2DModel"],
            "image_encoder": [None, None],
        }
    ),
    "scheduler/scheduler_config.json": "{}",
    "transformer/config.json": "[]",
    "transformer/diffusion_pytorch_model.safetensors": "w",
    "transformer/diffusion_pytorch_model.fp16.safetensors": "w",
    "sd3_medium.safetensors": "all of it in one file",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        # Equal contents would be one blob, which is fetched once.
        (folder / name).write_text(text + " " * len(name))
    return folder


def get_env(folder: Path, hub: Hub) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HF_HOME": str(folder / "hf"),
        "HF_ENDPOINT": hub.url,
    }


def make(python: str = sys.executable) -> Launch:
    return make_launch("reference", "org/vlm", python=python)


@pytest.mark.parametrize(
    ("files", "wanted", "fetched"),
    [
        (VLM, "all", {*VLM} - {"pytorch_model.bin", "original/model.safetensors"}),
        (
            VLM,
            "code",
            {"config.json", "tokenizer.json", "preprocessor_config.json", "chat_template.jinja"},
        ),
        (VLM, "config", {"config.json"}),
        (
            PIPELINE,
            "all",
            {*PIPELINE}
            - {"sd3_medium.safetensors", "transformer/diffusion_pytorch_model.fp16.safetensors"},
        ),
    ],
)
def test_what_the_engine_reads_is_fetched_and_no_more(
    tmp_path: Path, files: dict[str, str], wanted: Wanted, fetched: set[str]
) -> None:
    with serve_hub({"org/vlm": write(tmp_path / "repo", files)}) as hub:
        env = get_env(tmp_path, hub)
        download(make(), env, wanted)
        assert set(hub.fetched) == fetched
        found = read_hub_files("org/vlm", None, env)
        snapshot = tmp_path / "hf/hub/models--org--vlm/snapshots" / COMMIT
        assert found.snapshot == str(snapshot)
        assert found.is_complete(needs_weights=wanted == "all") == (wanted != "config")
        download(make(), env, wanted)  # what is there is not fetched again
        assert len(hub.fetched) == len(fetched)


def test_a_model_that_the_hub_lacks_is_named(tmp_path: Path) -> None:
    with serve_hub({}) as hub, pytest.raises(WarmupError) as raised:
        download(make(), get_env(tmp_path, hub), "all")
    assert raised.value.what == "cannot download the model of org/vlm"
    assert str(raised.value.cause).startswith("RepositoryNotFoundError: ")
    assert "HF_TOKEN" in str(raised.value.hint)


def test_an_interpreter_without_huggingface_hub_is_named(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    with serve_hub({}) as hub, pytest.raises(WarmupError) as raised:
        download(
            make_launch("reference", "org/vlm", python=str(python)), get_env(tmp_path, hub), "all"
        )
    assert raised.value.cause == "ModuleNotFoundError: No module named 'huggingface_hub'"
    assert raised.value.hint == f"install huggingface_hub for {python}"


def test_an_interpreter_that_is_not_there_is_named(tmp_path: Path) -> None:
    with serve_hub({}) as hub, pytest.raises(WarmupError, match="cannot download") as raised:
        download(
            make_launch("reference", "org/vlm", python="/gone/python"),
            get_env(tmp_path, hub),
            "all",
        )
    assert raised.value.cause == "/gone/python: No such file or directory"


def test_a_hub_that_hangs_is_left_in_time(tmp_path: Path) -> None:
    with serve_hub({}) as hub:
        hub.hold.clear()
        with pytest.raises(WarmupError, match="cannot download the model") as raised:
            download(make(), get_env(tmp_path, hub), "all", timeout_s=3)
        assert raised.value.cause == "not done within 3 s"


def test_a_killed_run_leaves_no_download(tmp_path: Path) -> None:
    code = (
        "import json, os, sys; from tests.launch.test_hub_download import make;"
        "from warmup.launch.hub_download import download;"
        "download(make(), json.loads(sys.argv[1]), 'all')"
    )
    with serve_hub({}) as hub:
        hub.hold.clear()
        env = get_env(tmp_path, hub)
        root = Path(__file__).parents[2]
        run = subprocess.Popen([sys.executable, "-c", code, json.dumps(env)], cwd=root)
        assert hub.asked.wait(60)
        (child,) = psutil.Process(run.pid).children()
        run.send_signal(signal.SIGKILL)
        run.wait(30)
        child.wait(30)
        assert not child.is_running()


def test_a_terminal_shows_the_hubs_own_progress(tmp_path: Path) -> None:
    code = (
        "import json, sys; from tests.launch.test_hub_download import make;"
        "from warmup.launch.hub_download import download;"
        "download(make(), json.loads(sys.argv[1]), 'all', has_terminal=sys.stderr.isatty())"
    )
    with serve_hub({"org/vlm": write(tmp_path / "repo", VLM)}) as hub:
        ours, theirs = os.openpty()
        fcntl.ioctl(
            theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0)
        )  # bars need columns
        env = json.dumps(get_env(tmp_path, hub))
        root = Path(__file__).parents[2]
        run = subprocess.Popen([sys.executable, "-c", code, env], cwd=root, stderr=theirs)
        os.close(theirs)
        shown = b""
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            while chunk := _read(terminal):
                shown += chunk
        assert run.wait(60) == 0
    assert b"100%" in shown


def _read(terminal: RawIOBase) -> bytes:
    """b"" once nobody holds the terminal's other end: Linux says EIO then."""
    try:
        return terminal.read(4096) or b""
    except OSError:
        return b""
