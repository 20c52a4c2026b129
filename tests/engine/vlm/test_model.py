from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engine.gloo import run_ranks
from warmup.engine.args import ServerArgs
from warmup.engine.ranks import Ranks
from warmup.engine.tiny import qwen2_5_vl, qwen2_vl
from warmup.engine.vlm.generation import Grid
from warmup.engine.vlm.model import VisionLanguageModel

TINY = {"qwen2.5-vl": qwen2_5_vl, "qwen2-vl": qwen2_vl}
IMAGE = 261
NUM_NEW = 8


@pytest.fixture(scope="module", params=TINY)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param)
    TINY[request.param].make(path)
    return path


def make_prompt(*grids: Grid) -> tuple[list[int], torch.Tensor | None, list[Grid]]:
    """Text, then each image with text behind it; the features are random, from a fixed seed."""
    generator = torch.Generator().manual_seed(len(grids))
    ids = [257, *range(60, 90)]
    for grid in grids:
        ids += [259, *[IMAGE] * (grid[0] * grid[1] * grid[2] // 4), 260, *range(100, 105)]
    patches = sum(t * h * w for t, h, w in grids)
    pixels = torch.randn(patches, 1176, generator=generator) if grids else None
    return ids, pixels, list(grids)


PROMPTS = [
    make_prompt(),
    make_prompt((1, 4, 4)),
    make_prompt((1, 12, 10), (1, 4, 18)),
]


def _make_model(folder: Path, ranks: Ranks | None = None, **settings: Any) -> VisionLanguageModel:
    tp = ranks.world_size if ranks else 1
    args = ServerArgs(model=str(folder), device="cpu", tp=tp, max_batch=4, **settings)
    return VisionLanguageModel(args, ranks or Ranks(args, 0), 256)


def _generate_theirs(folder: Path, prompt: Any) -> list[int]:
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(folder)
    ids = torch.tensor([prompt[0]])
    inputs: dict[str, Any] = {"input_ids": ids, "mm_token_type_ids": (ids == IMAGE).int()}
    if prompt[1] is not None:
        inputs |= {"pixel_values": prompt[1], "image_grid_thw": torch.tensor(prompt[2])}
    out = model.generate(**inputs, max_new_tokens=NUM_NEW, min_new_tokens=NUM_NEW, do_sample=False)
    return out[0, len(prompt[0]) :].tolist()


def _generate_ours(model: VisionLanguageModel, prompt: Any) -> list[int]:
    logits = model.prefill(*prompt)
    tokens = []
    for _ in range(NUM_NEW):
        logits = logits.clone()
        logits[258] = -torch.inf  # as min_new_tokens does
        tokens.append(int(logits.argmax()))
        logits = model.decode(tokens[-1:])[0]
    model.remove(0)
    return tokens


@pytest.mark.parametrize("prompt", PROMPTS, ids=["text", "one image", "two images"])
def test_greedy_tokens_equal_transformers_generate(folder: Path, prompt: Any) -> None:
    ours = _generate_ours(_make_model(folder), prompt)
    assert ours == _generate_theirs(folder, prompt)
    assert len(set(ours)) > 1


def test_the_answer_depends_on_the_image(folder: Path) -> None:
    model = _make_model(folder)
    ids, pixels, grids = PROMPTS[1]
    assert pixels is not None
    one, other = model.prefill(ids, pixels, grids), model.prefill(ids, pixels.flip(0), grids)
    assert (one - other).abs().max() > 1e-2


def _run_batch(model: VisionLanguageModel) -> list[torch.Tensor]:
    """Requests come and go: logits of every step, keyed by nothing but their order."""
    seen = [model.prefill(*PROMPTS[0]), model.prefill(*PROMPTS[2])]
    seen += model.decode([65, 66])
    seen.append(model.prefill(*PROMPTS[1]))
    seen += model.decode([67, 68, 69])
    model.remove(0)  # the last row becomes row 0
    seen += model.decode([70, 71])
    return seen


def test_a_batch_gives_each_request_what_it_gets_alone(folder: Path) -> None:
    model = _make_model(folder)
    together = _run_batch(model)
    model.remove(0)
    model.remove(0)
    assert model.cache.num_running == 0
    alone = {
        0: [65, 67],
        2: [66, 68, 71],
        1: [69, 70],
    }
    logits: dict[int, list[torch.Tensor]] = {}
    for index, tokens in alone.items():
        logits[index] = [model.prefill(*PROMPTS[index])]
        logits[index] += [model.decode([token])[0] for token in tokens]
        model.remove(0)
    expected = [
        logits[0][0], logits[2][0], logits[0][1], logits[2][1], logits[1][0],
        logits[0][2], logits[2][2], logits[1][1], logits[1][2], logits[2][3],
    ]  # fmt: skip
    for ours, exact in zip(together, expected, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-4)


def _run_rank(ranks: Ranks, folder: str, dtype: str) -> list[torch.Tensor]:
    return _run_batch(_make_model(Path(folder), ranks, dtype=dtype))


# With 4 ranks, two share each KV head.
@pytest.mark.parametrize("world_size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_tensor_parallel_logits_equal_those_of_one_rank(
    folder: Path, tmp_path: Path, world_size: int
) -> None:
    exact = _run_batch(_make_model(folder))
    for rank in run_ranks(tmp_path, _run_rank, str(folder), "auto", world_size=world_size):
        for ours, one in zip(rank, exact, strict=True):
            torch.testing.assert_close(ours, one, rtol=1e-4, atol=1e-4)


# Two layers of random weights as large as the tiny model's amplify rounding: bf16's 2⁻⁹ a step.
@pytest.mark.parametrize("world_size", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_bf16_is_near_float32(folder: Path, tmp_path: Path, world_size: int) -> None:
    """A GPU's default. Rounding alone tells the two apart."""
    exact = torch.stack(_run_batch(_make_model(folder)))
    for rank in run_ranks(tmp_path, _run_rank, str(folder), "bfloat16", world_size=world_size):
        ours = torch.stack(rank)
        assert ours.dtype == torch.bfloat16
        assert (ours.float() - exact).norm() / exact.norm() < 5e-2


def test_what_does_not_fit_is_refused_before_any_collective(folder: Path) -> None:
    model = _make_model(folder)
    ids, pixels, grids = PROMPTS[1]
    assert pixels is not None
    for bad in (
        (ids, pixels[:-1], grids),
        (ids, None, grids),
        (ids, pixels, []),
        (ids[:-8], pixels, grids),
        ([*ids, IMAGE], pixels, grids),
        ([65] * 300, None, []),
        ([], None, []),
    ):
        with pytest.raises(ValueError):
            model.prefill(*bad)
    assert model.cache.num_running == 0 and model.deltas == []


def test_dummy_weights_need_no_checkpoint(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    model = _make_model(tmp_path, load_format="dummy")
    assert torch.isfinite(model.prefill(*PROMPTS[1])).all()
