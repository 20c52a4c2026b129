from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.report.helpers import make_result
from warmup.report.text import get_column, get_label, get_short_names, get_verdict, get_width
from warmup.words.escape import get_printable


def test_verdicts() -> None:
    entries = {"triton": 9, "deep_gemm": 41, "inductor": 0}
    assert get_verdict(make_result(new_entries=entries)) == (
        "warmed 41.2 s (+41 deep_gemm, +9 triton)"
    )
    assert get_verdict(make_result(new_entries={"triton": 1}, proven=True)) == (
        "warmed 41.2 s (+1 triton, proven)"
    )
    assert get_verdict(make_result()) == "warmed 41.2 s"
    assert get_verdict(make_result(state="warm", reason="marker of 2026-11-20")) == (
        "warm (marker of 2026-11-20)"
    )
    assert get_verdict(make_result(state="failed", reason="exit 3\nboo")) == (
        "failed 41.2 s: exit 3\\nboo"
    )
    assert get_verdict(make_result(state="skipped", reason="--fail-fast")) == (
        "skipped: --fail-fast"
    )
    assert get_verdict(make_result(state="cold", reason="no marker")) == "cold: no marker"


def test_a_single_name_is_followed_by_six_dots() -> None:
    short = get_short_names(["XiaomiMiMo/MiMo-V2.5:8"])["XiaomiMiMo/MiMo-V2.5:8"]
    assert get_label(short, get_column([short])) == "MiMo-V2.5:8 ......"


def test_verdicts_of_a_run_stand_in_one_column() -> None:
    shorts = list(get_short_names(["a/b:8", "c/模型:1", "d/" + "x" * 90 + ":2"]).values())
    labels = [get_label(short, get_column(shorts)) for short in shorts]
    assert get_width(labels[0]) == get_width(labels[1]) == 60 + 7
    assert labels[2] == "x" * 90 + ":2 ......"


def test_names_that_differ_only_in_their_folder_stay_whole() -> None:
    shorts = get_short_names(["a/m:1", "b/m:1", "b/m:2", "/x/:1"])
    assert shorts == {"a/m:1": "a/m:1", "b/m:1": "b/m:1", "b/m:2": "m:2", "/x/:1": ":1"}


@given(st.text())
def test_printable_text_is_one_line_without_control_characters(text: str) -> None:
    printable = get_printable(text)
    assert printable.isprintable()
    assert get_printable(printable) == printable
    if text.isprintable():
        assert printable == text
