from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.state.helpers import make_launch
from warmup.launch.arguments import parse
from warmup.launch.launch import RequestSpec
from warmup.launch.record import normalise_args

VALUES = st.text(min_size=1, max_size=5).filter(lambda text: not text.startswith("-"))
FLAGS = st.dictionaries(
    st.from_regex(r"--[a-z]{1,6}", fullmatch=True), st.lists(VALUES, max_size=3), max_size=6
)


def key(*args: str, **changes: object) -> str:
    return make_launch(fallback_args=args, **changes).key


def flatten(flags: list[tuple[str, list[str]]]) -> list[str]:
    return [word for name, values in flags for word in (name, *values)]


@given(FLAGS, st.randoms())
def test_the_order_of_independent_flags_does_not_matter(flags, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(flags.items())
    random.shuffle(shuffled)
    assert key(*flatten(list(flags.items()))) == key(*flatten(shuffled))


@given(FLAGS)
def test_equals_is_a_space(flags: dict[str, list[str]]) -> None:
    single = [(name, values[:1]) for name, values in flags.items()]
    joined = ["=".join([name, *values]) for name, values in single]
    assert key(*flatten(single)) == key(*joined)


@given(FLAGS, st.data())
def test_a_changed_value_matters(flags: dict[str, list[str]], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(flags) or ["--only"]))
    before = {**flags, name: [*flags.get(name, []), "x"]}
    after = {**flags, name: [*flags.get(name, []), "y"]}
    assert key(*flatten(list(before.items()))) != key(*flatten(list(after.items())))


@given(st.lists(st.sampled_from(["--a", "--b", "-c", "x", "y", "--a=x", "--", "-1"]), max_size=6))
def test_nothing_is_lost_in_splitting(args: list[str]) -> None:
    words = [word for name, values in parse(args, "").options for word in (name, *values) if word]
    assert " ".join(words).replace("=", " ") == " ".join(args).replace("=", " ")
    assert sorted(normalise_args(args)) == sorted(parse(args, "").options)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["--sizes", "1", "2"], ["--sizes", "2", "1"]),
        (["--lora", "a", "--lora", "b"], ["--lora", "b", "--lora", "a"]),
        (["--a", "1"], ["--a", "-1"]),
        (["--a", "b", "c"], ["--a=b", "c"]),
        (["--a="], ["--a"]),
        (["--a", "--", "--b"], ["--b", "--", "--a"]),
        (["--a"], ["--a", "--a"]),
    ],
)
def test_what_must_differ(one: list[str], other: list[str]) -> None:
    assert key(*one) != key(*other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("python serve.py --a 1 --b=2", "python serve.py --b 2 --a 1"),
        ("torchrun -n 2 serve.py --a --b 1", "torchrun -n 2 serve.py --b 1 --a"),
    ],
)
def test_flags_of_a_command_that_may_change_places(one: str, other: str) -> None:
    assert (
        make_launch(command=tuple(one.split())).key == make_launch(command=tuple(other.split())).key
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("python -O -m serve --a", "python -m serve --a -O"),
        ("a --x b", "b --x a"),
        ("run --n 2 serve.py --a", "run --a --n 2 serve.py"),
        ("serve --a -- --b --c", "serve --a -- --c --b"),
    ],
)
def test_words_of_a_command_that_may_not(one: str, other: str) -> None:
    assert (
        make_launch(command=tuple(one.split())).key != make_launch(command=tuple(other.split())).key
    )


@pytest.mark.parametrize(
    "change",
    [
        {"model": "org/Other"},
        {"tp": 4},
        {"engine": "vllm"},
        {"revision": "abc"},
        {"weights": "dummy"},
        {"trust_remote_code": True},
        {"command": ("serve",)},
        {"env": {}},
        {"env": {"SGLANG_ENABLE_JIT_DEEPGEMM": "0"}},
    ],
)
def test_what_is_in_the_key(change: dict[str, object]) -> None:
    assert make_launch().key != make_launch(**change).key


@pytest.mark.parametrize(
    "change",
    [
        {"label": "./name"},
        {"python": "/elsewhere/python"},
        {"start_timeout_s": 1.0},
        {"request_timeout_s": 1.0},
        {"stop_grace_s": 1.0},
        {"prove": True},
        {"crash_patterns": ("x",)},
        {"health_path": "/x"},
        {"request": RequestSpec(path="/x")},
        {"strategy": "server"},
        {"source_paths": ("x",)},
        {"workflow_dir": "/x"},
    ],
)
def test_what_is_not(change: dict[str, object]) -> None:
    assert make_launch().key == make_launch(**change).key


def test_secrets_and_the_places_of_caches_are_left_out() -> None:
    env = {"HF_TOKEN": "hf_abc", "TRITON_CACHE_DIR": "/x", "MAX_TOKENS": "5"}
    record = make_launch(env=env).record
    assert record.env == {"MAX_TOKENS": "5"}


def test_a_local_models_configuration_counts(tmp_path: Path) -> None:
    (tmp_path / "transformer").mkdir()

    def get_key() -> str:
        return make_launch(model=str(tmp_path)).key

    keys = {get_key()}
    for path in ("model_index.json", "transformer/config.json", "config.json"):
        (tmp_path / path).write_text(json.dumps({"hidden_size": 64}))
        keys.add(get_key())
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 128}))
    keys.add(get_key())
    assert len(keys) == 5
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert get_key() in keys


def test_a_record_is_made_once(tmp_path: Path) -> None:
    """Its files are read once a run, whoever asks."""
    launch = make_launch(model=str(tmp_path))
    assert launch.record is launch.record
    before = launch.key
    (tmp_path / "config.json").write_text("{}")
    assert launch.key == before
    assert msgspec.structs.replace(launch).key != before


def test_bytes_that_are_no_text() -> None:
    odd = b"--name=\xff".decode("utf-8", "surrogateescape")
    assert key(odd) == key(odd) != key("--name=")


@pytest.mark.parametrize(
    ("args", "sizes"),
    [
        ([], (8, 1, 1, 1)),
        (["--dp", "8", "--enable-dp-attention"], (8, 8, 1, 1)),
        (["--data-parallel-size=2", "--enable-expert-parallel"], (8, 2, 16, 1)),
        (["--ep-size", "4"], (8, 1, 4, 1)),
        (["--enable-cfg-parallel"], (8, 1, 1, 2)),
        (["--dp", "2", "--dp", "4"], (8, 4, 1, 1)),
        (["--dp", "many", "--ep", "0"], (8, 1, 1, 1)),
    ],
)
def test_sizes(args: list[str], sizes: tuple[int, ...]) -> None:
    found = make_launch(tp=8, fallback_args=tuple(args)).record.sizes
    assert (found.tp, found.dp, found.ep, found.cfg) == sizes
