"""As much of torch as a DeepGEMM worker asks for, on GPUs that `FAKE_GPUS` describes.

No GPU can be had where these tests run; what they hold is the driver around it.
"""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import Any

float8_e4m3fn, bfloat16, int32 = "fp8", "bf16", "int32"


class Tensor:
    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def to(self, _dtype: str) -> Tensor:
        return self

    def transpose(self, *_: int) -> Tensor:
        return Tensor(*self.shape[:-2], self.shape[-1], self.shape[-2])

    def __getitem__(self, key: Any) -> Tensor:
        if isinstance(key, slice):
            return Tensor(min(key.stop, self.shape[0]), *self.shape[1:])
        rows = key[-2].stop
        return Tensor(*self.shape[:-2], min(rows, self.shape[-2]), self.shape[-1])


def empty(*shape: int, **_: Any) -> Tensor:
    return Tensor(*shape)


zeros = ones = empty


def _get_gpus() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(os.environ["FAKE_GPUS"])
    return found


def _get_properties(index: int) -> SimpleNamespace:
    gpu = _get_gpus()[index]
    return SimpleNamespace(
        name=gpu["name"], major=gpu["major"], minor=0, multi_processor_count=gpu["sms"]
    )


cuda = SimpleNamespace(
    is_available=lambda: True,
    set_device=lambda index: None,
    device_count=lambda: len(_get_gpus()),
    get_device_properties=_get_properties,
    mem_get_info=lambda index: (_get_gpus()[index]["free"], 1 << 40),
    synchronize=lambda: None,
)
