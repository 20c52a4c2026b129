from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.launch.helpers import make_folder, make_launch
from warmup.launch.folder import (
    find_folder,
    find_name_problem,
    has_chat_template,
    read_folder,
)
from warmup.words.errors import UsageError


@pytest.mark.parametrize("model", ["org/name", "toy", "deepseek-ai/DeepSeek-V3.2", "a_b/c-d.e"])
def test_a_hub_id_is_no_folder_and_no_problem(model: str) -> None:
    launch = make_launch("sglang", model)
    assert find_folder(model) is None
    assert launch.model_argument == model
    assert find_name_problem(launch.model, launch.label) is None


@pytest.mark.parametrize(
    "model", ["", "a/b/c", "org/", "-x", "a b", "a//b", "a..b", "x" * 97, "models/\0", "naïve"]
)
def test_what_is_neither_folder_nor_hub_id(model: str) -> None:
    problem = find_name_problem(model, model)
    assert problem is not None
    assert "neither a folder nor a hub id" in problem.what


@pytest.mark.parametrize("model", ["/nowhere/at/all", "./nowhere", "../nowhere", "~/nowhere"])
def test_a_path_that_is_not_there(model: str) -> None:
    problem = find_name_problem(model, model)
    assert isinstance(problem, UsageError)
    assert problem.what == f"{model}: no such folder"


def test_a_file_is_no_folder_and_the_label_is_what_the_user_wrote(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"x")
    problem = find_name_problem(str(path), "./weights.bin")
    assert problem is not None
    assert problem.what == "./weights.bin: not a folder"


def test_a_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m").mkdir()
    for model in ("./m", "~/m"):
        launch = make_launch("sglang", model)
        assert launch.model_argument == str(tmp_path / "m")
        assert find_name_problem(launch.model, launch.label) is None


def test_reads_what_chooses_an_engine(tmp_path: Path) -> None:
    text = read_folder(make_folder(tmp_path / "t", config={"architectures": ["A", "B"]}))
    assert (text.pipeline, text.architectures, text.has_config) == (None, ("A", "B"), True)
    media = read_folder(make_folder(tmp_path / "d", model_index={"_class_name": "P"}))
    assert (media.pipeline, media.architectures, media.has_config) == ("P", (), False)


@pytest.mark.parametrize(
    ("config", "takes_images"),
    [
        ({"vision_config": {"depth": 1}}, True),
        ({"thinker_config": {"vision_config": {"depth": 1}}}, True),
        ({"architectures": ["Phi4MMForCausalLM"]}, True),
        ({"architectures": ["LlamaForCausalLM"], "vision_config": None}, False),
        ({"audio_config": {"depth": 1}}, False),
    ],
)
def test_who_takes_images(tmp_path: Path, config: dict[str, Any], takes_images: bool) -> None:
    assert read_folder(make_folder(tmp_path / "m", config=config)).takes_images is takes_images


def test_a_config_of_any_size_or_kind_is_bounded(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_folder(tmp_path)
    (tmp_path / "model_index.json").symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="cannot be read"):
        read_folder(tmp_path)
    (tmp_path / "model_index.json").unlink()
    (tmp_path / "config.json").unlink()
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(UsageError, match="cannot be read"):
        read_folder(tmp_path)


def test_dots_are_resolved_unless_a_link_stands_before_them(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "models" / "m").mkdir(parents=True)
    assert find_folder("../models/m", tmp_path / "flows") == tmp_path / "models" / "m"
    (tmp_path / "link").symlink_to(tmp_path / "models" / "m")
    assert find_folder("../m", tmp_path / "link") == tmp_path / "models" / "m"
    assert find_folder("../link", tmp_path / "flows") == tmp_path / "link"


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
