import random

import pytest
import torch

from warmup.engine.vlm.generation import Grid, get_num_tokens
from warmup.engine.vlm.positions import get_positions

IMAGE = 9


def _make(seed: int) -> tuple[list[int], list[Grid]]:
    chance = random.Random(seed)
    ids, grids = [1] * chance.randrange(4), []
    for _ in range(chance.randrange(4)):
        grid = (1, 2 * chance.randrange(1, 6), 2 * chance.randrange(1, 6))
        # Text must part two images, as the vision marks do: transformers groups by type.
        ids += [IMAGE] * get_num_tokens(grid, 2) + [2] * chance.randrange(1, 5)
        grids.append(grid)
    return [*ids, 3], grids


@pytest.mark.parametrize("seed", range(12))
def test_positions_equal_transformers_own(seed: int) -> None:
    from types import SimpleNamespace

    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel

    ids, grids = _make(seed)
    vision = SimpleNamespace(spatial_merge_size=2, tokens_per_second=4)
    model = SimpleNamespace(
        config=SimpleNamespace(vision_config=vision),
        get_vision_position_ids=lambda *a, **k: Qwen2_5_VLModel.get_vision_position_ids(
            None, *a, **k
        ),
    )
    tokens = torch.tensor([ids])
    theirs, delta = Qwen2_5_VLModel.get_rope_index(
        model, tokens, (tokens == IMAGE).int(), torch.tensor(grids).view(-1, 3)
    )
    ours, our_delta = get_positions(ids, IMAGE, grids, 2)
    assert torch.equal(ours, theirs[:, 0]) and our_delta == delta.item()


@pytest.mark.parametrize(
    ("ids", "grids"),
    [
        ([1, 2], [(1, 4, 4)]),
        ([1, IMAGE, 2], []),
        ([IMAGE] * 3, [(1, 4, 4)]),
        ([IMAGE] * 5, [(1, 4, 4)]),
        ([IMAGE] * 4 + [1], [(1, 4, 4), (1, 4, 4)]),
    ],
)
def test_images_and_placeholders_must_match(ids: list[int], grids: list[Grid]) -> None:
    with pytest.raises(ValueError):
        get_positions(ids, IMAGE, grids, 2)
