"""The recorder reads what the real libraries register, without importing the engine."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tools.record_options import (
    collect_annotated_fields,
    collect_calls,
    collect_frontend_fields,
    collect_typer_parameters,
    record,
)

ROOT = Path(__file__).parents[2]


def test_calls() -> None:
    tree = ast.parse(
        'parser.add_argument("--port", "-p", type=int)\n'
        'group.add_argument("--compile", action=argparse.BooleanOptionalAction)\n'
        'parser.add_argument("model_tag")\n'
        'other.add("--not-an-argument")\n'
    )
    options = set(collect_calls(tree))
    assert options == {"--port", "-p", "--compile", "--no-compile", "model_tag"}


def test_annotated_fields() -> None:
    tree = ast.parse(
        "class Fields:\n"
        '    nccl_port: A[Optional[int], "help"] = None\n'
        '    tp_size: A[int, Arg(help="h", aliases=["--tensor-parallel-size"])] = 1\n'
        '    fp8: A[str, Arg(help="h", cli_name="--fp8-gemm-backend")] = "auto"\n'
        "    hidden: A[bool, Arg(no_cli=True)] = False\n"
        "    pad: A[bool, Arg(action=argparse.BooleanOptionalAction)] = None\n"
        "    plain: int = 1\n"
    )
    assert set(collect_annotated_fields(tree)) == {
        *("--nccl-port", "--tp-size", "--tensor-parallel-size"),
        *("--fp8-gemm-backend", "--pad", "--no-pad"),
    }


def test_frontend_fields() -> None:
    tree = ast.parse(
        "class FrontendArgs(BaseFrontendArgs):\n"
        "    host: str | None = None\n"
        "    disable_log: bool = False\n"
        "class Other:\n"
        "    field: int = 1\n"
    )
    assert set(collect_frontend_fields(tree)) == {"--host", "--disable-log", "--no-disable-log"}


def test_typer_parameters() -> None:
    tree = ast.parse(
        "def serve(\n"
        "    model: Annotated[str | None, typer.Argument()] = None,\n"
        "    log_level: Annotated[str, typer.Option(help='h')] = 'info',\n"
        "    compile: Annotated[bool | None, typer.Option()] = None,\n"
        "    plain: int = 1,\n"
        "): ...\n"
    )
    options = set(collect_typer_parameters(tree))
    assert options == {"--log-level", "--compile", "--no-compile"}


def make_wheel(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_a_wheel_is_recorded_without_running_it(tmp_path: Path) -> None:
    poison = "raise SystemExit('imported')\n"
    wheel = make_wheel(
        tmp_path / "vllm-9.9-py3-none-any.whl",
        {
            "vllm/__init__.py": poison,
            "vllm/engine/arg_utils.py": poison + 'p.add_argument("--load-format")\n',
            "vllm/entrypoints/deep/down/cli_args.py": "class FrontendArgs:\n  port: int = 8000\n",
        },
    )
    (written,) = record(wheel, "vllm", "9.9", tmp_path)
    assert written.name == "vllm-9.9.json"
    assert json.loads(written.read_text()) == {
        "engine": "vllm",
        "distribution": "vllm",
        "version": "9.9",
        "source_files": ["vllm/engine/arg_utils.py", "vllm/entrypoints/deep/down/cli_args.py"],
        "options": ["--load-format", "--port"],
    }


def test_a_wheel_whose_options_moved_is_an_error(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "vllm-9.9-py3-none-any.whl", {"vllm/elsewhere.py": "x = 1\n"})
    with pytest.raises(SystemExit, match="no options of vllm"):
        record(wheel, "vllm", "9.9", tmp_path)


def test_recorded_transformers_is_what_its_own_command_line_takes() -> None:
    """Held against the real thing where this environment has the recorded release."""
    script = (  # An older huggingface_hub made it a Typer, a newer one a click group.
        "import json, transformers, typer.main\n"
        "from transformers.cli.transformers import app\n"
        "group = app if hasattr(app, 'commands') else typer.main.get_command(app)\n"
        "command = group.commands['serve']\n"
        "options = [o for p in command.params for o in (*p.opts, *p.secondary_opts)]\n"
        "print(json.dumps([transformers.__version__, options]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        pytest.skip("transformers[serving] is not installed here")
    version, options = json.loads(done.stdout.splitlines()[-1])
    path = ROOT / "tests" / "launch" / "options" / f"transformers-{version}.json"
    if not path.exists():
        pytest.skip(f"transformers {version} is not recorded")
    real = {option for option in options if option.startswith("-") and option != "--help"}
    assert set(json.loads(path.read_text())["options"]) == real
