import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmup.words.errors import UsageError
from warmup.workflow.model_spec import MAX_TP, ModelSpec, parse_spec, parse_specs


@pytest.mark.parametrize(
    ("text", "model", "tp"),
    [
        ("deepseek-ai/DeepSeek-V3.2:8", "deepseek-ai/DeepSeek-V3.2", 8),
        ("deepseek-ai/DeepSeek-V3.2", "deepseek-ai/DeepSeek-V3.2", None),
        ("/models/a:b", "/models/a:b", None),
        ("/models/a:b:4", "/models/a:b", 4),
        ("C:", "C:", None),
        ("m:+2", "m", 2),
        ("m:08", "m", 8),
        ("m:1024", "m", MAX_TP),
        ("m:٣", "m:٣", None),
        ("m:1.5", "m:1.5", None),
    ],
)
def test_the_last_part_is_a_size_only_if_it_is_a_whole_number(
    text: str, model: str, tp: int | None
) -> None:
    assert parse_spec(text) == ModelSpec(model, tp)


@pytest.mark.parametrize("text", ["m:0", "m:-1", "m:1000000000", "m:" + "9" * 10_000, "m:-0"])
def test_impossible_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_spec(text)
    assert "1 to 1024" in caught.value.render()
    assert len(caught.value.render()) < 1000


@pytest.mark.parametrize("text", [":8", "", "  ", "  :8", "a\0b"])
def test_what_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_spec(text)


def test_several_in_one_value_and_over_several_values() -> None:
    found = parse_specs(["a:1, b", "c:2,"])
    assert found == (ModelSpec("a", 1), ModelSpec("b"), ModelSpec("c", 2))


@pytest.mark.parametrize("values", [[""], [","], ["a", " "]])
def test_a_value_that_names_nothing_is_refused(values: list[str]) -> None:
    with pytest.raises(UsageError, match="names no model"):
        parse_specs(values)


def test_duplicates_are_refused_but_sizes_tell_models_apart() -> None:
    assert len(parse_specs(["a:1", "a:2", "a"])) == 3
    with pytest.raises(UsageError, match="duplicate model: a:1"):
        parse_specs(["a:1,b", "a:1"])


@given(st.text(max_size=30))
def test_any_text_is_a_spec_or_a_usage_error(text: str) -> None:
    try:
        spec = parse_spec(text)
    except UsageError:
        return
    assert spec.model.strip()
    assert spec.tp is None or 1 <= spec.tp <= MAX_TP


@given(st.from_regex(r"[a-z][a-z/.-]{0,20}", fullmatch=True), st.integers(1, MAX_TP))
def test_a_spec_survives_being_written_and_read(model: str, tp: int) -> None:
    assert parse_spec(str(ModelSpec(model, tp))) == ModelSpec(model, tp)
