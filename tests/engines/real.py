"""Real sglang and vLLM on a CPU: how they are started, and tiny models that they take.

sglang finds kernels of its own by name (`shims/`), and vLLM's CPU attention takes heads of 64.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from tests.commands.program import get_env
from warmup.engine.tiny import qwen2_5_vl, text

SHIMS = Path(__file__).parent / "shims"
# A boot alone takes a minute of two cores; others may share them.
TIMEOUT_S = 900.0
_TEXT = {"hidden_size": 128, "num_attention_heads": 2, "max_position_embeddings": 1024}
_MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [8, 12, 12]}


class RealEngine(msgspec.Struct, frozen=True, kw_only=True):
    """One engine on a CPU. chunk: the option that cuts prefills, here shorter than the model.

    worker: what the process that computes is called, by setproctitle.
    """

    name: str
    args: tuple[str, ...]
    env: dict[str, str]
    chunk: str
    worker: str


SGLANG = RealEngine(
    name="sglang",
    args=(
        *("--device", "cpu", "--disable-overlap-schedule", "--attention-backend", "torch_native"),
        *("--sampling-backend", "pytorch", "--mem-fraction-static", "0.1"),
        *("--max-total-tokens", "4096"),
    ),
    env={"SGLANG_USE_CPU_ENGINE": "1"},
    chunk="--chunked-prefill-size",
    worker="sglang::scheduler",
)
VLLM = RealEngine(
    name="vllm",
    args=("--dtype", "bfloat16", "--max-model-len", "1024", "--enforce-eager"),
    env={"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "1"},
    chunk="--max-num-batched-tokens",
    worker="VLLM::EngineCor",  # a process' name ends after 15 characters
)
ENGINES = {engine.name: engine for engine in (SGLANG, VLLM)}


def make_text(folder: Path) -> Path:
    text.make(folder, num_key_value_heads=2, **_TEXT)
    return folder


def make_vision(folder: Path) -> Path:
    qwen2_5_vl.make(folder, **_TEXT, rope_parameters=_MROPE)
    return folder


def write_workflow(folder: Path, python: Path, engine: RealEngine, model: Path, *args: str) -> None:
    env = {**engine.env, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(SHIMS)}
    values = ", ".join(f"{name} = {json.dumps(value)}" for name, value in env.items())
    (folder / "workflow.toml").write_text(
        f"""
schema = 1
[defaults]
engine = "{engine.name}"
python = "{python}"
start_timeout_s = {TIMEOUT_S}
[[model]]
id = "{model}"
tp = 1
fallback_args = {json.dumps([*engine.args, *args])}
env = {{ {values} }}
"""
    )


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    """`warmup-ci run --workflow workflow.toml --json ARGS` in `folder`, not waited for.

    TMPDIR is the caller's: vLLM's sockets lie there, whose paths have 107 characters at most.
    """
    env = get_env(folder, TMPDIR=tempfile.gettempdir())
    return subprocess.Popen(
        [sys.executable, "-m", "warmup", "run", "--workflow", "workflow.toml", "--json", *args],
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )


def run(folder: Path, *args: str) -> Any:
    """The one model of that run's document, after its end."""
    return finish(start(folder, *args))


def finish(program: subprocess.Popen[str]) -> Any:
    out, err = program.communicate(timeout=2 * TIMEOUT_S)
    assert out, err
    (model,) = json.loads(out)["models"]
    model["stderr"] = err
    return model


def find_descendant(pid: int, name: str) -> int | None:
    """The descendant of `pid` whose process name begins so; None while there is none."""
    import psutil

    for child in psutil.Process(pid).children(recursive=True):
        path = Path(f"/proc/{child.pid}/comm")
        try:
            if path.read_text().startswith(name[:15]):
                return child.pid
        except OSError:  # it has ended meanwhile
            continue
    return None
