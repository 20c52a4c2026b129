import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from warmup.engine.args import ServerArgs
from warmup.engine.backends import HTTP, Warmup
from warmup.engine.images import open_image
from warmup.engine.tiny import qwen2_5_vl
from warmup.engine.vlm.chat import parse_chat
from warmup.engine.vlm.families import read_model
from warmup.engine.vlm.generation import Generation
from warmup.engine.vlm.media import read_files
from warmup.engine.vlm.prompt import Prompter
from warmup.engine.vlm.remote import RemoteMedia
from warmup.engine.vlm.warmups import check_args, plan_warmups
from warmup.words.errors import UsageError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    qwen2_5_vl.make(path)
    return path


def _plan(model: Path, max_len: int = 2048, **settings: Any) -> list[Warmup]:
    args = ServerArgs(model=str(model), **settings)
    prompter = Prompter(args, read_model(model)[1], max_len)
    return plan_warmups(args, prompter, lambda prompt: prompt.pixels)


def _get(warmup: Warmup) -> Generation:
    generation: Generation = warmup.payload["generation"]
    return generation


def test_the_plan_covers_text_two_image_sizes_and_two_batch_sizes(model: Path) -> None:
    plan = _plan(model, max_batch=5)
    text, smallest, default, batch = map(_get, plan[:4])
    assert [warmup.name for warmup in plan[1:3]] == ["image 56x56", "image 224x224"]
    assert text.grids == [] and text.copies == 1 and text.max_tokens > 1
    assert smallest.grids == [(1, 4, 4)] and smallest.pixels.shape == (16, 1176)
    assert default.grids == [(1, 16, 16)] and default.ids.count(261) == 64
    assert batch.copies == 5 and batch.max_tokens > 1
    assert all(_get(warmup).ignore_eos for warmup in plan[:4])


def test_what_a_user_would_send_comes_last_streamed_and_whole(model: Path) -> None:
    streamed, whole = _plan(model)[-2:]
    assert streamed.kind == whole.kind == HTTP
    assert [each.payload["body"]["stream"] for each in (streamed, whole)] == [True, False]
    for warmup in (streamed, whole):
        assert warmup.payload["path"] == "/v1/chat/completions"
        (image,) = parse_chat(warmup.payload["body"]).images
        args = ServerArgs(model=str(model))
        (data,) = asyncio.run(read_files([image], args, RemoteMedia()))
        assert open_image(data, 14, image.field).size == (56, 56)


def test_one_row_needs_no_second_batch_size(model: Path) -> None:
    assert len(_plan(model, max_batch=1)) == 5


def test_resolutions_that_were_asked_for_are_warmed_verbatim(model: Path) -> None:
    names = [w.name for w in _plan(model, warmup_resolutions=((112, 84), (56, 56)))]
    assert names[1:3] == ["image 112x84", "image 56x56"]


def test_an_image_that_the_context_has_no_room_for_is_not_planned(model: Path) -> None:
    assert _plan(model, max_len=100)[2].name == "image 168x168"


def test_after_an_out_of_memory_the_area_is_halved(model: Path) -> None:
    plan = _plan(model)
    grids = [payload["generation"].grids[0] for payload in plan[2].smaller]
    assert grids == [(1, 12, 12), (1, 8, 8), (1, 6, 6)]
    assert plan[1].smaller == ()


def test_the_default_is_the_classs_where_the_folder_allows_more(
    model: Path, tmp_path: Path
) -> None:
    for path in model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = json.loads((model / "preprocessor_config.json").read_text())
    settings["size"]["longest_edge"] = 12_845_056
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    assert _plan(tmp_path, max_len=4096)[2].name == "image 980x980"


@pytest.mark.parametrize(
    "settings",
    [
        {"warmup_steps": 2},
        {"warmup_num_frames": 5},
        {"torch_compile": True},
        {"cfg_parallel_size": 2},
        {"warmup_sampling_params": {"guidance_scale": 3}},
        {"warmup_sampling_params": {"max_tokens": 0}},
        {"warmup_sampling_params": {"max_tokens": True}},
    ],
)
def test_settings_of_diffusion_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        check_args(ServerArgs(model="x", **settings))


def test_the_number_of_tokens_can_be_set(model: Path) -> None:
    plan = _plan(model, warmup_sampling_params={"max_tokens": 9})
    assert {_get(warmup).max_tokens for warmup in plan if warmup.kind != HTTP} == {9}
