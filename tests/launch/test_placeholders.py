from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.launch.helpers import make_allocation, make_launch
from warmup.launch.engine import PLACEHOLDERS
from warmup.launch.placeholders import find_unknown, get_values, substitute
from warmup.words.errors import UsageError

VALUES = {"port": "8000", "tp": "2"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{port}", "8000"),
        ("http://h:{port}/x?{tp}", "http://h:8000/x?2"),
        ('{"port": {port}}', '{"port": 8000}'),
        ('{"a": {"b": {tp}}}', '{"a": {"b": 2}}'),
        ('{"a": 1}', '{"a": 1}'),
        ("{}", "{}"),
        ("{0}", "{0}"),
        ("{ port }", "{ port }"),
        ("{port", "{port"),
        ("{{port}}", "{{port}}"),
        ("{{ messages }}", "{{ messages }}"),
        ("{% if a %}{{b}}{% endif %}", "{% if a %}{{b}}{% endif %}"),
        ("a{{", "a{{"),
        ("}}b", "}}b"),
    ],
)
def test_only_an_identifier_in_single_braces_is_filled_in(text: str, filled: str) -> None:
    assert find_unknown(text) is None
    assert substitute(text, VALUES) == filled


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    assert find_unknown("--port {prot}") == "prot"
    with pytest.raises(UsageError) as caught:
        substitute("--port {prot}", VALUES)
    assert "{prot}" in caught.value.what
    assert all(f"{{{name}}}" in str(caught.value.hint) for name in PLACEHOLDERS)


def test_values_are_not_filled_in_again() -> None:
    assert substitute("{port}", {"port": "{tp}", "tp": "2"}) == "{tp}"


def test_every_placeholder_has_a_value() -> None:
    launch = make_launch("command", "/models/a", tp=4)
    values = get_values(launch, make_allocation("/run", gpus="0,1"))
    assert tuple(values) == PLACEHOLDERS
    assert values == {
        "port": "21000",
        "model": "/models/a",
        "tp": "4",
        "gpus": "0,1",
        "run_dir": "/run",
        "workflow_dir": "/flows",
    }


@given(st.recursive(st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_json_survives(value: object) -> None:
    text = json.dumps(value)
    if find_unknown(text) is None and not any(f"{{{name}}}" in text for name in VALUES):
        assert substitute(text, dict.fromkeys(PLACEHOLDERS, "x") | VALUES) == text


@given(st.text(alphabet='{}ab" :,x1', max_size=30))
def test_any_text_is_either_filled_in_or_refused_by_both(text: str) -> None:
    if find_unknown(text) is None:
        assert substitute(text, VALUES) == text
    else:
        with pytest.raises(UsageError):
            substitute(text, VALUES)
