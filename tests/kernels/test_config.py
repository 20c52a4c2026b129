from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmup.kernels.config import Config, Quantisation, read_config
from warmup.words.errors import UsageError


@pytest.mark.parametrize(
    "text", ["", "{", '{"hidden_size": 71', "[]", "7", "null", '{"a": 1e999x}']
)
def test_a_damaged_config_is_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(path)
    assert str(path) in caught.value.what


def test_what_is_no_file_is_an_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "missing.json", tmp_path, tmp_path / "fifo"):
        with pytest.raises(UsageError, match=r"no such file|cannot be read"):
            read_config(path)


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=4),
    )
)
def test_getters_answer_a_size_or_an_error(value: dict[str, object]) -> None:
    config = Config({**value, "quantization_config": value}, "config.json")
    for name in [*value, "missing"]:
        with contextlib.suppress(UsageError):
            assert config.get_size(name) >= 1


@pytest.mark.parametrize(
    ("entry", "module", "is_ignored"),
    [
        ("lm_head", "lm_head", True),
        ("model.layers.0.mlp", "model.layers.0.mlp.down_proj", True),
        ("mlp.gate", "model.layers.3.mlp.gate", True),
        ("mlp.gate", "model.layers.3.mlp.gate_up_proj", False),
        ("model.layers.1.", "model.layers.1.self_attn.o_proj", True),
        ("model.layers.1", "model.layers.11.self_attn.o_proj", False),
        ("visual", "model.layers.0.mlp.down_proj", False),
    ],
)
def test_ignored_modules_are_matched_by_whole_parts(
    entry: str, module: str, is_ignored: bool
) -> None:
    assert Quantisation((entry,)).is_ignored(module) is is_ignored
