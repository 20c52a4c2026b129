"""Weights into a model that has been laid out: from safetensors, or random."""

from __future__ import annotations

import json
import logging
import zlib
from pathlib import Path
from typing import Any

import torch

from warmup.engine.vlm.families import Architecture
from warmup.engine.vlm.parallel import Slot
from warmup.words.errors import UsageError

log = logging.getLogger(__name__)
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_NO_WEIGHTS_HINT = "--load-format dummy serves random weights from config.json alone"
DUMMY_STD = 0.02


def load_checkpoint(folder: Path, family: Architecture, slots: dict[str, Slot]) -> None:
    """Fill every slot.

    Raises `UsageError` naming the file that is missing or broken, or the tensor that is missing
    or has another shape than the config says.
    """
    from safetensors import SafetensorError, safe_open

    missing = dict(slots)
    for path in _list_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 - it is not a dict
                    slot = missing.pop(_rename(key, family), None)
                    if slot is None:
                        log.debug("%s: %s is not used", path, key)
                    else:
                        _fill(slot, file.get_slice(key), path, key)
        except (SafetensorError, OSError) as error:
            raise UsageError(
                f"cannot read {path}", cause=str(error), hint=_NO_WEIGHTS_HINT
            ) from error
    if missing:
        first = min(missing)
        raise UsageError(f"{folder}: {len(missing)} tensors are missing", cause=f"first {first}")


def _fill(slot: Slot, source: Any, path: Path, key: str) -> None:
    shape = tuple(source.get_shape())
    if shape != slot.shape:
        raise UsageError(f"{path}: {key} is {shape}, config.json says {slot.shape}")
    slot.fill(source)


def _list_files(folder: Path) -> list[Path]:
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return sorted({folder / name for name in index["weight_map"].values()})
    except FileNotFoundError:
        raise UsageError(
            f"no weights in {folder}", cause=f"neither {SINGLE} nor {INDEX}", hint=_NO_WEIGHTS_HINT
        ) from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UsageError(f"cannot read {folder / INDEX}", cause=repr(error)) from error


def _rename(key: str, family: Architecture) -> str:
    for start, instead in family.renames:
        if key.startswith(start):
            return instead + key[len(start) :]
    return key


def fill_randomly(slots: dict[str, Slot], seed: int, rank: int) -> None:
    """Small normal weights, norms of one, biases of zero.

    What every rank holds whole is the same on all: seeded by its name, not its rank.
    """
    filled = set()
    for name, slot in slots.items():
        target = getattr(slot.module, slot.leaf).data
        if (slot.module, slot.leaf) in filled:
            continue  # several tensors share it
        filled.add((slot.module, slot.leaf))
        if slot.leaf == "bias":
            target.zero_()
        elif target.dim() == 1:
            target.fill_(1)
        else:
            own = zlib.crc32(name.encode()) + seed + (rank << 32 if slot.pieces else 0)
            generator = torch.Generator(target.device).manual_seed(own)
            target.normal_(0, DUMMY_STD, generator=generator)
