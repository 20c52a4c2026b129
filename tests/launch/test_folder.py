from __future__ import annotations

from pathlib import Path

import pytest

from tests.launch.helpers import make_folder, make_launch
from warmup.launch.folder import (
    find_folder,
    find_name_problem,
    get_model_argument,
    has_chat_template,
    read_folder,
)
from warmup.words.errors import UsageError


@pytest.mark.parametrize("model", ["org/name", "toy", "deepseek-ai/DeepSeek-V3.2", "a_b/c-d.e"])
def test_a_hub_id_is_no_folder_and_no_problem(model: str) -> None:
    launch = make_launch("sglang", model)
    assert find_folder(model) is None
    assert get_model_argument(launch) == model
    assert find_name_problem(launch) is None


@pytest.mark.parametrize(
    "model", ["", "a/b/c", "org/", "-x", "a b", "a//b", "a..b", "x" * 97, "models/\0", "naïve"]
)
def test_what_is_neither_folder_nor_hub_id(model: str) -> None:
    problem = find_name_problem(make_launch("sglang", model))
    assert problem is not None
    assert "neither a folder nor a hub id" in problem.what


@pytest.mark.parametrize("model", ["/nowhere/at/all", "./nowhere", "../nowhere", "~/nowhere"])
def test_a_path_that_is_not_there(model: str) -> None:
    problem = find_name_problem(make_launch("sglang", model))
    assert isinstance(problem, UsageError)
    assert problem.what == f"{model}: no such folder"


def test_a_file_is_no_folder_and_the_label_is_what_the_user_wrote(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"x")
    problem = find_name_problem(make_launch("sglang", str(path), label="./weights.bin"))
    assert problem is not None
    assert problem.what == "./weights.bin: not a folder"


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m").mkdir()
    for model in ("./m", "~/m"):
        launch = make_launch("sglang", model)
        assert get_model_argument(launch) == str(tmp_path / "m")
        assert find_name_problem(launch) is None


def test_reads_what_chooses_an_engine(tmp_path: Path) -> None:
    text = read_folder(make_folder(tmp_path / "t", config={"architectures": ["A", "B"]}))
    assert (text.pipeline, text.architectures, text.has_config) == (None, ("A", "B"), True)
    media = read_folder(make_folder(tmp_path / "d", model_index={"_class_name": "P"}))
    assert (media.pipeline, media.architectures, media.has_config) == ("P", (), False)


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', '{"architectures": 3}', "[" * 20000])
def test_a_config_that_is_no_object_is_a_users_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UsageError, match=r"config\.json"):
        read_folder(tmp_path)


def test_a_folder_named_config_json_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(UsageError, match="cannot be read"):
        read_folder(tmp_path)


def test_chat_template_in_either_place(tmp_path: Path) -> None:
    assert not has_chat_template(make_folder(tmp_path / "a", tokenizer_config={}))
    assert has_chat_template(make_folder(tmp_path / "b", tokenizer_config={"chat_template": "x"}))
    (make_folder(tmp_path / "c") / "chat_template.jinja").write_text("x")
    assert has_chat_template(tmp_path / "c")
