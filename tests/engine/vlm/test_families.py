import json
from pathlib import Path
from typing import Any

import pytest

from warmup.engine.tiny import qwen2_5_vl
from warmup.engine.vlm.families import FAMILIES, check_tp, read_model
from warmup.words.errors import UsageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    qwen2_5_vl.make(path)
    return path


def _write(folder: Path, config: Any) -> Path:
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "config.json").write_text(text)
    return folder


def test_both_families_are_found_by_their_architecture(tmp_path: Path) -> None:
    for name in ("Qwen2_5_VLForConditionalGeneration", "Qwen2VLForConditionalGeneration"):
        family, _ = read_model(_write(tmp_path, {"architectures": [name]}))
        assert family is FAMILIES[name]


@pytest.mark.parametrize(
    "config",
    ["", "{", "[]", "null", {}, {"architectures": 3}, {"architectures": ["LlamaForCausalLM"]}],
)
def test_what_is_not_served_names_the_file(tmp_path: Path, config: Any) -> None:
    with pytest.raises(UsageError, match=r"config\.json"):
        read_model(_write(tmp_path, config))


def test_no_config_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config\.json"):
        read_model(tmp_path)


def _change(folder: Path, tmp_path: Path, **text: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= text
    return _write(tmp_path, config)


def test_what_would_be_computed_wrongly_is_refused(folder: Path, tmp_path: Path) -> None:
    odd: list[dict[str, Any]] = [
        {"hidden_size": "many"},
        {"hidden_act": "gelu"},
        {"use_sliding_window": True, "max_window_layers": 1},
    ]
    for text in odd:
        with pytest.raises(UsageError, match=r"config\.json"):
            read_model(_change(folder, tmp_path, **text))


def test_ranks_must_share_the_model_evenly(folder: Path) -> None:
    _, config = read_model(folder)  # 4 heads, 2 KV heads, MLP 128 wide, vocabulary of 264
    for tp in (1, 2, 4):
        check_tp(config, tp)
    for tp in (3, 8):
        with pytest.raises(UsageError, match=f"--tp {tp}"):
            check_tp(config, tp)
