"""The recorder keeps facts of a checkout: no reason of an unresolved launch, which quotes code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tools.record_ci import SUITES

ROOT = Path(__file__).parents[2]
TEST = """
register_cuda_ci(est_time=60, stage="base-c", runner_config="8-gpu-h200")
popen_launch_server("org/one", URL, other_args=["--tp", "8"])
popen_launch_server("org/two", URL, other_args=make_args())
"""


def test_a_checkout_is_recorded_one_launch_a_line(tmp_path: Path) -> None:
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    (tmp_path / ".github" / "workflows" / "pr-test.yml").write_text(
        f"jobs:\n  {SUITES[0]}:\n    with:\n      warmup_server_models: 'org/one:8'\n"
    )
    (tmp_path / "scripts" / "ci" / "cuda").mkdir(parents=True)
    (tmp_path / "scripts" / "ci" / "cuda" / "warm.py").write_text(
        'FALLBACK_ARGS = {"org/one": ["--dp", "2"], "org/unknown": []}\n'
    )
    (tmp_path / "test" / "registered").mkdir(parents=True)
    (tmp_path / "test" / "registered" / "test_it.py").write_text(TEST)
    for command in (
        ("init", "-q"),
        ("add", "."),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"),
    ):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    output = tmp_path / "facts.json"
    done = subprocess.run(
        [sys.executable, "-m", "tools.record_ci", str(tmp_path), "--output", str(output)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{output}\n"
    document = json.loads(output.read_text())
    assert (len(document["commit"]), len(document["date"])) == (40, 10)
    assert document["warmed"] == [
        {
            "file": ".github/workflows/pr-test.yml",
            "line": 4,
            "suites": [SUITES[0]],
            "model": "org/one",
            "args": ["--tp-size", "8"],
        }
    ]
    assert [each["model"] for each in document["arguments"]] == ["org/one"]
    assert [(each["model"], each["args"]) for each in document["launches"]] == [
        ("org/one", ["--tp", "8"]),
        ("org/two", None),
    ]
    assert "make_args" not in output.read_text()
    assert '\n  {"file": "test/registered/test_it.py", "line": 3, ' in output.read_text()
