from __future__ import annotations

import json
import os

from hypothesis import given
from hypothesis import strategies as st

from warmup.words.escape import from_text, to_line, to_text

RAW = st.binary(min_size=1, max_size=40).map(os.fsdecode)


@given(RAW)
def test_any_file_name_survives_json(name: str) -> None:
    assert from_text(json.loads(json.dumps(to_text(name)).encode("utf-8"))) == name


@given(RAW)
def test_a_line_is_one_line_of_printable_text(name: str) -> None:
    assert to_line(name).isprintable()


def test_common_names_stay_as_they_are() -> None:
    assert to_text("cache/kernel.fp8.0a/kernel.cu") == "cache/kernel.fp8.0a/kernel.cu"
    assert to_text("größe") == "größe"
    assert to_text("100%") == "100%25"
    assert to_text(os.fsdecode(b"\xff")) == "%FF"
