from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kernels.entries import make_package, write_csrc
from tests.kernels.models import write_model
from warmup.commands.kernels import compile_kernels, list_kernels, rebuild_kernels
from warmup.commands.session import Session
from warmup.words.errors import HostError, UsageError, WarmupError
from warmup.workflow.selection import Selection
from warmup.workflow.settings import Settings

ROOT = Path(__file__).parents[2]
REAL_NVCC = shutil.which("nvcc")
WITHIN_S = 60.0


def make_session(folder: Path, *models: str, workflow: str = "", **env: str) -> Session:
    path = None
    if workflow:
        path = folder / "workflow.toml"
        path.write_text(workflow)
    environ = {**os.environ, "HF_HUB_CACHE": str(folder / "hub"), **env}
    selection = Selection(models=models, workflow=path, settings=Settings(python=sys.executable))
    return Session(selection=selection, environ=environ, folder=folder)


def list_models(capsys: pytest.CaptureFixture[str], session: Session) -> list[dict[str, Any]]:
    assert list_kernels(session, json_output=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == 1
    models: list[dict[str, Any]] = document["models"]
    return models


def test_the_document_is_the_promised_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "v3", "deepseek-v3")
    (model,) = list_models(capsys, make_session(tmp_path, "./v3:8"))
    shapes = model.pop("shapes")
    assert model == {
        "model": "./v3",
        "tp": 8,
        "architecture": "DeepseekV3ForCausalLM",
        "strategy": "kernels",
        "reason": "deepseek on sglang is modelled, and so are all of its arguments",
    }
    assert {"kind": "CONTIG", "n": 512, "k": 7168, "groups": 257} in shapes


def test_arguments_come_from_the_workflow_and_the_size_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "v3", "deepseek-v3")
    workflow = """
        schema = 1
        [[model]]
        id = "./v3"
        tp = 8
        engine = "sglang"
        fallback_args = ["--dp", "4", "--enable-dp-attention"]
    """
    (model,) = list_models(capsys, make_session(tmp_path, "./v3:4", workflow=workflow))
    assert {"kind": "NORMAL", "n": 24576, "k": 1536, "groups": 1} in model["shapes"]


def test_a_model_that_falls_back_says_why_and_the_others_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "qwen", "qwen3-8b-fp8")
    other, known = list_models(capsys, make_session(tmp_path, "org/unseen:2", "./qwen"))
    assert (other["strategy"], other["shapes"], other["architecture"]) == ("server", [], None)
    assert "the hub cache holds no config.json of org/unseen" in other["reason"]
    assert known["strategy"] == "kernels"


def test_the_text_tells_shapes_ms_and_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "a", "qwen3-8b-fp8")
    write_model(tmp_path / "b", "qwen3-8b-fp8")
    session = make_session(tmp_path, "./a", "./b")
    assert list_kernels(session) == 0
    text = capsys.readouterr().out
    assert "NORMAL n=6144 k=4096 groups=1: M 16 32 64" in text
    assert "    TRANSPOSE k=12288: M 1\n" in text
    assert "6 shapes" in text and "kernels, M up to 16384" in text
    assert "the same shapes as ./a:1: compiled once" in text
    assert "its choice can change only past 16" in text
    assert list_kernels(session, full=True) == 0
    assert "16384 Ms, 1 to 16384" in capsys.readouterr().out


def test_listing_loads_nothing_heavy(tmp_path: Path) -> None:
    write_model(tmp_path / "v3", "deepseek-v3")
    code = (
        "import os, sys; from pathlib import Path\n"
        "from warmup.commands.kernels import list_kernels\n"
        "from warmup.commands.session import Session\n"
        "from warmup.workflow.selection import Selection\n"
        "session = Session(selection=Selection(models=('./v3:8',)))\n"
        "list_kernels(session, json_output=True)\n"
        "print(sorted(set(sys.modules) & {'torch', 'triton', 'rich', 'requests', 'pynvml'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("target", "told"),
    [("cuda:banana", "no target is called"), ("cuda:90", "engine reference cannot serve")],
)
def test_targets_that_cannot_be(tmp_path: Path, target: str, told: str) -> None:
    write_model(tmp_path / "qwen", "qwen3-8b-fp8")
    with pytest.raises(UsageError) as caught:
        compile_kernels(make_session(tmp_path, "./qwen"), target=target)
    assert told in caught.value.render()


def test_no_model_is_an_error(tmp_path: Path) -> None:
    for command in (list_kernels, compile_kernels):
        with pytest.raises(UsageError, match="no model named"):
            command(make_session(tmp_path))


def test_without_a_gpu_the_host_is_at_fault(tmp_path: Path) -> None:
    """Whatever is missing first, torch's CUDA or deep_gemm: the host cannot, and says why."""
    write_model(tmp_path / "qwen", "qwen3-8b-fp8")
    session = make_session(tmp_path, "./qwen", CUDA_VISIBLE_DEVICES="")
    with pytest.raises(HostError, match="DeepGEMM cannot compile here") as caught:
        compile_kernels(session, jobs=1)
    assert caught.value.cause == "RuntimeError: torch finds no usable GPU"


def test_a_download_that_fails_names_the_model(tmp_path: Path) -> None:
    session = make_session(
        tmp_path, "org/unseen", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1"
    )
    with pytest.raises(WarmupError, match=r"cannot download config\.json of org/unseen"):
        list_kernels(session, download=True)


def make_nvcc(folder: Path, script: str = "", release: str = "13.0") -> Path:
    """A CUDA home whose nvcc tells this release, then does what the script says."""
    path = folder / "cuda" / "bin" / "nvcc"
    path.parent.mkdir(parents=True)
    version = f'[ "$1" != --version ] || {{ echo "release {release}, V{release}.1"; exit; }}'
    path.write_text(f"#!/bin/sh\n{version}\n{script}\n")
    path.chmod(0o755)
    return folder / "cuda"


def make_rebuild(
    folder: Path, script: str, release: str = "13.0"
) -> tuple[Session, dict[str, Any]]:
    """The session, and the arguments of `rebuild_kernels`."""
    site = folder / "site"
    include = make_package(site)
    (site / "deep_gemm" / "__init__.py").touch()
    write_csrc(folder / "old", include, "12.9")
    session = make_session(
        folder, CUDA_HOME=str(make_nvcc(folder, script, release)), PYTHONPATH=str(site)
    )
    paths = {"rebuild_from": folder / "old", "out": folder / "new"}
    return session, {**paths, "json_output": True, "jobs": 1}


COPY = 'while [ "$1" != -o ]; do shift; done; printf "\\177ELF" > "$2"'


def test_rebuilding_writes_what_will_be_looked_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session, options = make_rebuild(tmp_path, COPY)
    assert rebuild_kernels(session, **options) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["kernels"], document["failed"]) == (1, [])
    expected = write_csrc(tmp_path / "expected", tmp_path / "site/deep_gemm/include", "13.0")
    (entry,) = (tmp_path / "new" / "cache").iterdir()
    assert entry.name == expected.name
    assert sorted(path.name for path in entry.iterdir()) == ["kernel.cu", "kernel.cubin"]
    assert list((tmp_path / "new" / "tmp").iterdir()) == []


def test_an_nvcc_that_fails_is_told_with_its_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session, options = make_rebuild(tmp_path, "echo 'error: no such thing' >&2; exit 2")
    assert rebuild_kernels(session, **options) == 1
    document = json.loads(capsys.readouterr().out)
    assert "no such thing" in document["failed"][0]
    assert list((tmp_path / "new" / "cache").iterdir()) == []


def test_an_nvcc_that_is_too_old(tmp_path: Path) -> None:
    session, options = make_rebuild(tmp_path, COPY, release="12.1")
    with pytest.raises(UsageError, match=r"nvcc 12\.1 is too old"):
        rebuild_kernels(session, **options)


def test_rebuilding_needs_nvcc_and_the_package(tmp_path: Path) -> None:
    write_csrc(tmp_path / "old", make_package(tmp_path), "13.0")
    options: dict[str, Any] = {"rebuild_from": tmp_path / "old", "out": tmp_path / "new"}
    with pytest.raises(HostError, match="DeepGEMM is not installed"):
        rebuild_kernels(make_session(tmp_path), **options)
    (tmp_path / "deep_gemm" / "__init__.py").touch()
    session = make_session(tmp_path, PYTHONPATH=str(tmp_path), CUDA_HOME="/nonexistent")
    with pytest.raises(HostError, match="no nvcc"):
        rebuild_kernels(session, **options)
    assert not (tmp_path / "new").exists()


def test_an_interrupt_leaves_no_half_entry_and_no_compiler(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f'while [ "$1" != -o ]; do shift; done; printf half > "$2"; echo $$ > {mark}.tmp; '
    script += f"mv {mark}.tmp {mark}; exec sleep 600"
    session, _ = make_rebuild(tmp_path, script)
    code = (
        "import os, sys; from pathlib import Path\n"
        "from warmup.commands.kernels import rebuild_kernels\n"
        "from warmup.commands.session import Session\n"
        "from warmup.words.errors import WarmupError\n"
        "from warmup.workflow.selection import Selection\n"
        "session = Session()\n"
        "try: rebuild_kernels(session, rebuild_from=Path('old'), out=Path('new'), jobs=1)\n"
        "except WarmupError as error: sys.exit(error.exit_status)\n"
    )
    env = {**session.env, "PYTHONPATH": f"{session.env['PYTHONPATH']}:{ROOT}"}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=env)
    try:
        deadline = time.monotonic() + WITHIN_S
        while not mark.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_S) == 130
    finally:
        process.kill()
        process.wait()
    assert list((tmp_path / "new" / "cache").iterdir()) == []
    assert list((tmp_path / "new" / "tmp").iterdir()) == []
    compiler = Path(f"/proc/{mark.read_text().strip()}/stat")
    deadline = time.monotonic() + WITHIN_S
    while compiler.exists() and compiler.read_text().rpartition(")")[2].split()[0] not in "ZX":
        assert time.monotonic() < deadline, "the compiler lives on"
        time.sleep(0.05)
