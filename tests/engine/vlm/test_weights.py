import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from warmup.engine.args import ServerArgs
from warmup.engine.ranks import Ranks
from warmup.engine.tiny import qwen2_5_vl
from warmup.engine.vlm.model import VisionLanguageModel
from warmup.words.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    qwen2_5_vl.make(tmp_path / "model")
    return tmp_path / "model"


def _load(folder: Path) -> VisionLanguageModel:
    args = ServerArgs(model=str(folder), device="cpu", max_batch=1)
    return VisionLanguageModel(args, Ranks(args, 0), 32)


def test_a_checkpoint_in_shards_is_the_same_model(folder: Path) -> None:
    exact = _load(folder).prefill([1, 2, 3], None, [])
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    weight_map: dict[str, str] = {}
    for index, part in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2])):
        save_file({name: tensors[name] for name in part}, folder / f"{index}.safetensors")
        weight_map |= dict.fromkeys(part, f"{index}.safetensors")
    index_file = folder / "model.safetensors.index.json"
    index_file.write_text(json.dumps({"weight_map": weight_map}))
    assert torch.equal(_load(folder).prefill([1, 2, 3], None, []), exact)
    (folder / "1.safetensors").unlink()
    with pytest.raises(UsageError, match=r"1\.safetensors"):
        _load(folder)
    index_file.write_text("{}")
    with pytest.raises(UsageError, match="index"):
        _load(folder)


def test_missing_weights_name_the_folder_and_the_way_out(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="no weights") as caught:
        _load(folder)
    assert "dummy" in (caught.value.hint or "")


def test_a_truncated_file_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UsageError, match=r"model\.safetensors"):
        _load(folder)


def test_a_missing_tensor_and_a_wrong_shape_are_named(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    norm = tensors.pop("model.norm.weight")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UsageError) as caught:
        _load(folder)
    assert "language_model.norm.weight" in caught.value.reason
    tensors["model.norm.weight"] = norm[:-1].clone()
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UsageError, match=r"model\.norm\.weight is \(63,\)"):
        _load(folder)
