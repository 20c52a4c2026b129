import pytest

from warmup.words.errors import WarmupError
from warmup.workflow.gpus import assign, get_visible


def test_all_devices_unless_the_caller_was_given_some() -> None:
    assert get_visible({}, [0, 1]) == ("0", "1")
    assert get_visible({"CUDA_VISIBLE_DEVICES": "3, GPU-ab"}, range(4)) == ("3", "GPU-ab")
    assert get_visible({"CUDA_VISIBLE_DEVICES": ""}, range(4)) == ()
    assert get_visible({"CUDA_VISIBLE_DEVICES": "0"}, []) == (), "no driver, no device"


def test_the_first_ones_are_assigned() -> None:
    assert assign(2, ("4", "5", "6"), is_required=True) == "4,5"
    assert assign(8, (), is_required=True) == ""
    assert assign(8, ("0",), is_required=False) == "0"


def test_too_few_is_said_with_numbers() -> None:
    with pytest.raises(WarmupError) as caught:
        assign(8, ("0", "1"), is_required=True)
    assert caught.value.reason == "needs 8 GPUs: this host shows 2: 0, 1"
