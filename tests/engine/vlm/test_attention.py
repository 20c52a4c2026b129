import random

import pytest
import torch
import torch.nn.functional as F

from warmup.engine.vlm.attention import Heads, Segments, WindowAttention
from warmup.engine.vlm.cache import KVCache


@pytest.mark.parametrize("seed", range(5))
def test_windows_of_any_lengths_equal_one_masked_attention(seed: int) -> None:
    chance = random.Random(seed)
    lengths = [chance.choice([3, 3, 8, chance.randrange(1, 20)]) for _ in range(8)]
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    heads, patches = Heads(2, 2, 4), int(bounds[-1])
    qkv = torch.nn.Linear(8, 24)
    attention = WindowAttention(qkv, torch.nn.Identity(), heads, Segments())
    hidden = torch.randn(patches, 8)
    cos, sin = torch.ones(patches, 4), torch.zeros(patches, 4)
    with torch.no_grad():
        ours = attention(hidden, bounds, (cos, sin))
        segment = torch.bucketize(torch.arange(patches), bounds[1:], right=True)
        q, k, v = attention.qkv(hidden).view(patches, 3, 2, 4).permute(1, 2, 0, 3)
        mask = segment[:, None] == segment[None]
        exact = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(ours, exact.transpose(0, 1).reshape(patches, 8))


def test_layouts_are_worked_out_once_and_never_mixed_up() -> None:
    segments = Segments()
    windows, whole = torch.tensor([0, 2, 4, 5]), torch.tensor([0, 5])
    first = segments.get_groups(windows)
    assert [group.tolist() for group in first] == [[[0, 1], [2, 3]], [[4]]]
    assert [group.tolist() for group in segments.get_groups(whole)] == [[[0, 1, 2, 3, 4]]]
    assert segments.get_groups(windows) is first
    for _ in range(2):  # the next image's
        segments.get_groups(torch.tensor([0, 3]))
    assert segments.get_groups(windows) is not first


def test_rows_stay_packed_as_requests_come_and_go() -> None:
    cache = KVCache((1, 3, 1, 5, 1), torch.float32, "cpu")
    for row, length in enumerate((2, 3, 4)):
        assert cache.add(length) == row
        cache.keys[:, row] = cache.values[:, row] = row
    with pytest.raises(ValueError):
        cache.add(1)
    cache.remove(0)
    assert cache.lengths == [4, 3]
    assert cache.keys[0, 0, 0, :4, 0].tolist() == [2.0] * 4
    cache.remove(1)
    cache.remove(0)
    assert cache.num_running == 0
    for length in (0, 6):
        with pytest.raises(ValueError):
            cache.add(length)
