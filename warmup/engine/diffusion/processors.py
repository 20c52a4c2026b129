"""transformers' image processors in their Pillow form: the others need torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from warmup.engine.model_files import read_json

# `image_processor_type` of preprocessor_config.json, "Fast" and "Pil" cut off.
_PIL = {
    "CLIPImageProcessor": "clip.image_processing_pil_clip:CLIPImageProcessorPil",
    "Qwen2VLImageProcessor": "qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil",
}


def find_image_processor(folder: Path) -> Any:
    """The image processor of a folder; None if it has none, or one without a Pillow form here."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return None
    kind = str(read_json(path).get("image_processor_type", ""))
    target = _PIL.get(kind.removesuffix("Pil").removesuffix("Fast"))
    if target is None:
        return None
    from warmup.engine.backends import load

    return load(f"transformers.models.{target}").from_pretrained(folder, local_files_only=True)
