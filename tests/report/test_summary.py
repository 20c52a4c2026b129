from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.report.helpers import make_result
from warmup.report.summary import (
    MAX_BYTES,
    RunSummary,
    get_output,
    get_table,
    write_outputs,
    write_step_summary,
)


def read_outputs(text: str) -> dict[str, str]:
    """As the runner reads GITHUB_OUTPUT: `name<<delimiter`, lines, the delimiter alone."""
    found, lines = {}, iter(text.splitlines())
    for line in lines:
        name, delimiter = re.fullmatch(r"([\w-]+)<<(ghadelimiter_[0-9a-f-]{36})", line).groups()  # type: ignore[union-attr]
        value = []
        for body in lines:
            if body == delimiter:
                break
            value.append(body)
        found[name] = "\n".join(value)
    return found


def test_outputs_name_one_model_a_line(tmp_path: Path) -> None:
    path = tmp_path / "output"
    results = (
        make_result("a/b", tp=8),
        make_result("c d", state="warm"),
        make_result("x\nfailed=y", state="failed"),
        make_result("late", state="skipped"),
    )
    write_outputs(path, RunSummary("r", "vk", results))
    assert read_outputs(path.read_text()) == {
        "warm": "a/b:8\nc d:1",
        "failed": "x\\nfailed=y:1",
        "version-key": "vk",
    }


def test_what_lacks_its_line_break_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for write in (write_outputs, write_step_summary):
        path.write_text("x=1")
        write(path, RunSummary("r", "vk", (make_result(),)))
        assert path.read_text().startswith("x=1\n")


def test_outputs_without_a_failure_are_empty(tmp_path: Path) -> None:
    path = tmp_path / "output"
    write_outputs(path, RunSummary("r", "", (make_result(),)))
    assert read_outputs(path.read_text()) == {"warm": "org/toy:1", "failed": "", "version-key": ""}


def test_delimiters_are_never_the_same() -> None:
    assert get_output("a", "b") != get_output("a", "b")


def test_foreign_text_stays_in_its_cell() -> None:
    bad = make_result("a|b", state="failed", reason="x | y\n| forged | <img src=x> `c` [l](u)")
    table = get_table(RunSummary("r", "vk", (bad,)))
    row = next(line for line in table.splitlines() if "forged" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 7
    assert "<img" not in row
    assert r"\[l\](u)" in row


def test_hours_and_money_are_the_pages(tmp_path: Path) -> None:
    results = (make_result("a", tp=8, seconds=900.0), make_result("b", tp=8, state="warm"))
    table = get_table(RunSummary("r", "vk", results, price=3.5))
    assert "| a:8 | 🟢 warmed | 900.0 s | 2.00 |" in table
    assert "\n2.00 GPU-hours, 7.00 at 3.50 each; run `r`" in table
    table = get_table(RunSummary("r", "vk", results[:1], price=3.5, target="h200x8"))
    assert "\n0.00 GPU-hours, 0.00 at 3.50 each; 2.00 GPU-hours saved, worth 7.00; run" in table
    assert "\n2.00 GPU-hours; run `r`" in get_table(RunSummary("r", "vk", results))


def test_a_summary_is_cut_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * 100_000)
    results = tuple(make_result(f"m{i}", reason="模" * 1000) for i in range(600))
    write_step_summary(path, RunSummary("r", "vk", results))
    text = path.read_text(encoding="utf-8")
    rows = text.count("\n| m") - 1
    assert MAX_BYTES - 10_000 < path.stat().st_size <= MAX_BYTES
    assert f"… and {600 - rows} more, in the log." in text


def test_a_full_summary_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * MAX_BYTES)
    write_step_summary(path, RunSummary("r", "vk", (make_result(),)))
    assert path.stat().st_size == MAX_BYTES


@given(st.lists(st.text(max_size=50), max_size=20), st.integers(0, 3000))
def test_a_table_never_passes_its_bound(reasons: list[str], bound: int) -> None:
    results = tuple(make_result(reason=reason) for reason in reasons)
    table = get_table(RunSummary("r", "vk", results), bound)
    assert len(table.encode("utf-8", "backslashreplace")) <= bound
