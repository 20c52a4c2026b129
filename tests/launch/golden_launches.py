"""Launches of every kind, whose keys and marker names must never move.

A key that moves turns every runner cold. `python -m tests.launch.golden_launches` writes the
golden file; only a wanted change of keys is a reason to run it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).parent / "golden_launches.json"

_ARGS: tuple[tuple[str, ...], ...] = (
    (),
    ("--dp", "8", "--enable-dp-attention"),
    ("--enable-dp-attention", "--dp=8"),
    ("--data-parallel-size", "8"),
    ("--dp-size", "2", "--dp-size", "4"),
    ("--ep-size", "4", "--ep", "8"),
    ("--ep", "0", "--dp", "many"),
    ("--enable-expert-parallel", "--data-parallel-size=2"),
    ("-dp", "2", "-tp=4", "-q", "fp8"),
    ("--chunked-prefill-size", "-1"),
    ("--chunked-prefill-size=-1", "--x", "-.5", "-.x", "-5e"),
    ("--sizes", "1", "2", "3", "--sizes", "3"),
    ("--sizes=1", "2"),
    ("first", "second", "--a", "b"),
    ("--a", "--", "--b", "c", "--", "-1"),
    ("--", "--dp", "8"),
    ("--a=", "--b", "", "-"),
    ("--json", '{"a": {"b": 1}}', "--path", "{run_dir}/x={port}"),
    ("--cfg-parallel-size", "2", "--enable-cfg-parallel"),
    ("--enable-cfg-parallel",),
    ("--cfg-size=2", "--num-gpus", "4"),
    ("--naïve", "größe", "\udcff"),
    ("--served_model_name", "m", "--tensor-parallel-size", "2"),
)
_COMMANDS: tuple[tuple[str, ...], ...] = (
    ("python3", "toy.py", "--port", "{port}", "--model", "{model}"),
    ("python3", "-O", "-m", "serve", "--b=2", "--a", "1", "--dp", "2"),
    ("torchrun", "-n", "2", "serve.py", "--b", "--a", "x", "y", "--c", "--d"),
    ("serve", "--z", "--y", "--", "--x", "--w"),
)
_ENVS: tuple[dict[str, str], ...] = (
    {"SGLANG_ENABLE_JIT_DEEPGEMM": "1", "A": ""},
    {"HF_TOKEN": "hf_x", "TRITON_CACHE_DIR": "/x", "MAX_TOKENS": "5", "GITHUB_PAT": "y"},
    {"VLLM_USE_DEEP_GEMM": "0", "DG_CACHE_DIR": "/c", "B": "{workflow_dir}/b", "ü": "\udcfe"},
)
_MODELS = (
    "toy",
    "deepseek-ai/DeepSeek-V3.2",
    "XiaomiMiMo/MiMo-V2.5",
    "/nowhere/at all/model.v1/",
    "/nowhere/größe",
    "org/-.-",
)
_ENGINES = ("reference", "sglang", "sglang-diffusion", "vllm", "transformers", "command")


def iter_launches() -> Iterator[dict[str, Any]]:
    """The fields of each launch. No model here is a folder that exists."""
    base: dict[str, Any] = {"model": "org/model", "tp": 1, "engine": "sglang", "python": "python3"}
    for engine in _ENGINES:
        for model in _MODELS:
            yield {**base, "engine": engine, "model": model, "tp": 8}
        for args in _ARGS:
            yield {**base, "engine": engine, "fallback_args": args}
    for command in _COMMANDS:
        yield {**base, "engine": "command", "command": command}
        yield {**base, "engine": "command", "command": command, "fallback_args": _ARGS[1]}
    for env in _ENVS:
        yield {**base, "env": env, "fallback_args": _ARGS[7], "tp": 4}
    for changes in (
        {"revision": "main"},
        {"revision": "0" * 40, "tp": 1024},
        {"weights": "dummy"},
        {"trust_remote_code": True},
        {"label": "short", "python": "/other", "prove": True, "strategy": "server"},
        {"health_path": "/up", "source_paths": ("x",), "workflow_dir": "/w", "stop_grace_s": 1.0},
    ):
        yield {**base, **changes}


def iter_folders() -> Iterator[dict[str, str]]:
    """Files of local models: relative path → content."""
    yield {}
    yield {"config.json": '{"architectures": ["A"]}'}
    yield {"model_index.json": '{"_class_name": "P"}', "transformer/config.json": "{}"}
    yield {"b/config.json": "{}", "a/model_index.json": "[]", "a/deep/config.json": "no"}
    yield {"model.safetensors": "x", "config.json": "not JSON at all"}


def main() -> None:
    """Write the golden file."""
    from tests.launch.test_golden import describe, describe_folder

    golden = {
        "launches": [describe(fields) for fields in iter_launches()],
        "folders": [describe_folder(files) for files in iter_folders()],
    }
    parts = [
        f"{json.dumps(name)}: [\n" + ",\n".join(map(json.dumps, rows)) + "\n]"
        for name, rows in golden.items()
    ]
    GOLDEN.write_text("{" + ",\n".join(parts) + "}\n")


if __name__ == "__main__":
    main()
