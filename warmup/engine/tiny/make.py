"""Tiny random checkpoints, per family: real files, real classes, hardly any weights."""

from __future__ import annotations

from pathlib import Path

from warmup.engine.backends import load
from warmup.words.errors import UsageError

# Each is `module:make`, called with the folder to fill: make(folder: Path) -> None.
FAMILIES = {
    "sd3": "warmup.engine.tiny.sd3:make",
    "qwen-image-edit": "warmup.engine.tiny.qwen_image_edit:make",
    "wan-i2v": "warmup.engine.tiny.wan_i2v:make",
    "flux2": "warmup.engine.tiny.flux2:make",
    "qwen2.5-vl": "warmup.engine.tiny.qwen2_5_vl:make",
    "qwen2-vl": "warmup.engine.tiny.qwen2_vl:make",
    "text": "warmup.engine.tiny.text:make",
}


def make_tiny(family: str, folder: str) -> Path:
    """Write a checkpoint of `family` to `folder` (made if missing) and return its path.

    Deterministic: the same family gives the same weights. Raises `UsageError` for an unknown
    family and for a folder that holds something already.
    """
    if family not in FAMILIES:
        raise UsageError(
            f"no tiny checkpoint of family {family!r}", hint=f"one of {', '.join(sorted(FAMILIES))}"
        )
    path = Path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{folder} is there already and is not an empty folder")
    path.mkdir(parents=True, exist_ok=True)
    load(FAMILIES[family])(path)
    return path
