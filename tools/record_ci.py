"""Record what sglang's CI warms and what its tests launch, for our workflows to be held against.

    git clone --depth 1 https://github.com/sgl-project/sglang
    python tools/record_ci.py sglang

reads a checkout's workflows, warm-up scripts and test suites as text (nothing of it is imported or
run) and writes `tests/drift/ci/sglang-<date>.json`: facts with their places, that is, models,
numbers of GPUs, arguments and suites. `--suite PATTERN` (repeatable) chooses other suites than
those of the runners that `workflows/` is for.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from warmup.drift.api import find_launches

CI_DIR = Path(__file__).parent.parent / "tests" / "drift" / "ci"
# Where sglang keeps them, as of August 2026.
SOURCES = (".github/workflows/pr-test.yml", "scripts/ci/cuda", "test/registered")
SUITES = ("base-c-test-8-gpu-h200", "base-c-test-4-gpu-h100", "base-c-test-4-gpu-b200")


def record(checkout: Path, suites: Iterable[str]) -> dict[str, Any]:
    """The document that is written. Raises UsageError for a checkout without one of SOURCES."""
    found = find_launches([checkout / source for source in SOURCES], suites)
    sections: dict[str, list[dict[str, Any]]] = {"size": [], "arguments": [], "all": []}
    for launch in found.launches:
        fact: dict[str, Any] = {
            "file": str(Path(launch.file).relative_to(checkout)),
            "line": launch.line,
            "suites": list(launch.suites),
            "model": launch.model,
            # Why not says their code, and is not a fact to keep.
            "args": None if launch.unresolved else launch.args,
        }
        sections[launch.says].append(fact)
    return {
        "source": "github.com/sgl-project/sglang",
        "commit": _run_git(checkout, "rev-parse", "HEAD"),
        "date": _run_git(checkout, "show", "--no-patch", "--format=%cs", "HEAD"),
        "suites": list(suites),
        "warmed": sections["size"],
        "arguments": sections["arguments"],
        "launches": sections["all"],
    }


def render(document: dict[str, Any]) -> str:
    """The document as JSON, one launch a line, so that a newer one is read as a diff."""
    parts = []
    for key, value in document.items():
        is_long = isinstance(value, list) and any(isinstance(each, dict) for each in value)
        lines = ",\n  ".join(map(json.dumps, value)) if is_long else ""
        parts.append(
            f"{json.dumps(key)}: " + (f"[\n  {lines}\n ]" if is_long else json.dumps(value))
        )
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkout", type=Path, help="folder of a clone of sglang")
    parser.add_argument("--suite", action="append", help="a pattern, as a shell's")
    parser.add_argument("--output", type=Path, help="write to this file instead")
    arguments = parser.parse_args()
    document = record(arguments.checkout, tuple(arguments.suite or SUITES))
    path = arguments.output or CI_DIR / f"sglang-{document['date']}.json"
    path.write_text(render(document))
    print(path)


def _run_git(checkout: Path, *args: str) -> str:
    command = ["git", "-C", str(checkout), *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
