"""The repository's workflows and composite actions, read as the runner reads them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github" / "actions").glob("*/action.yml"))


def load(path: Path) -> dict[str, Any]:
    return parse(path.read_text(encoding="utf-8"))


def parse(text: str) -> dict[str, Any]:
    """YAML 1.2, in which `on` is a word: PyYAML's 1.1 reads it as true."""
    from ruamel.yaml import YAML

    document: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return document


def get_steps(path: Path) -> list[dict[str, Any]]:
    document = load(path)
    if "runs" in document:
        return list(document["runs"]["steps"])
    return [step for job in document["jobs"].values() for step in job.get("steps", [])]


def get_step(path: Path, name: str) -> dict[str, Any]:
    return next(step for step in get_steps(path) if step.get("name") == name)


def iter_scripts() -> Iterator[tuple[str, str]]:
    for path in [*WORKFLOWS, *ACTIONS]:
        for step in get_steps(path):
            if "run" in step:
                yield f"{path.name}: {step.get('name')}", step["run"]


def start_script(
    script: str, folder: Path, environ: Mapping[str, str], cwd: Path | None = None
) -> subprocess.Popen[str]:
    """Start a `run` step as the runner does with `shell: bash`."""
    file = folder / "step.sh"
    file.write_text(script, encoding="utf-8")
    return subprocess.Popen(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(file)],
        env=dict(environ),
        cwd=cwd or folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def write_program(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
    file.chmod(0o755)
