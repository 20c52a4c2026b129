from __future__ import annotations

import textwrap
from pathlib import Path

from warmup.drift.resolve import Unresolved
from warmup.drift.scan import FoundLaunch, find_launches
from warmup.launch.launch import Launch


def scan(tmp_path: Path, source: str) -> list[FoundLaunch]:
    (tmp_path / "test_it.py").write_text(textwrap.dedent(source), encoding="utf-8")
    found = find_launches([tmp_path])
    assert found.problems == ()
    return list(found.launches)


def find_args(tmp_path: Path, body: str, head: str = "") -> tuple[str, ...] | str:
    """The arguments of the one launch in a function with this body, or why they are unknown."""
    source = textwrap.dedent(head) + "\ndef test_it(flag, names):\n"
    source += textwrap.indent(textwrap.dedent(body), "    ")
    source += "\n    popen_launch_server('m', 'u', other_args=args)\n"
    (launch,) = scan(tmp_path, source)
    return launch.args.reason if isinstance(launch.args, Unresolved) else launch.args


def make_launch(model: str = "org/m", tp: int = 8, *args: str, trust: bool = False) -> Launch:
    return Launch(
        model=model,
        tp=tp,
        engine="sglang",
        python="python",
        fallback_args=args,
        trust_remote_code=trust,
    )
