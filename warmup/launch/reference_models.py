"""What the reference engine serves, without importing it.

`warmup/engine/diffusion/pipelines.py` and `warmup/engine/vlm/families.py` decide; a test holds all
three together.
"""

from __future__ import annotations

from typing import Literal

from warmup.launch.folder import ModelFolder

Task = Literal["image", "edit", "video", "chat"]

# `_class_name` of model_index.json.
PIPELINES: dict[str, Task] = {
    "StableDiffusion3Pipeline": "image",
    "QwenImageEditPipeline": "edit",
    "WanImageToVideoPipeline": "video",
    "Flux2Pipeline": "image",
}
# `architectures` of config.json.
ARCHITECTURES = ("Qwen2_5_VLForConditionalGeneration", "Qwen2VLForConditionalGeneration")


def find_task(folder: ModelFolder) -> Task | None:
    """What this folder's model does; None if the reference engine does not know it."""
    if folder.pipeline is not None:
        return PIPELINES.get(folder.pipeline)
    return "chat" if any(name in ARCHITECTURES for name in folder.architectures) else None


def is_served(folder: ModelFolder) -> bool:
    return find_task(folder) is not None
