"""The families, found by `_class_name` of model_index.json. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from warmup.engine.backends import load
from warmup.engine.diffusion.spec import FamilySpec
from warmup.engine.model_files import read_json
from warmup.words.errors import UsageError

_FAMILIES = {
    "StableDiffusion3Pipeline": "warmup.engine.diffusion.families.sd3:SPEC",
    "QwenImageEditPipeline": "warmup.engine.diffusion.families.qwen_image_edit:SPEC",
    "WanImageToVideoPipeline": "warmup.engine.diffusion.families.wan_i2v:SPEC",
    "Flux2Pipeline": "warmup.engine.diffusion.families.flux2:SPEC",
}


def get_spec(folder: Path) -> FamilySpec:
    """Raises `UsageError` naming model_index.json for a pipeline that no family runs."""
    path = folder / "model_index.json"
    pipeline = read_json(path).get("_class_name")
    if pipeline not in _FAMILIES:
        raise UsageError(
            f"{path}: no family runs pipeline {pipeline!r}",
            hint=f"known: {', '.join(sorted(_FAMILIES))}",
        )
    spec: FamilySpec = load(_FAMILIES[pipeline])
    return spec
