"""What a family of diffusion models is, as far as it can be said without torch.

The HTTP process reads it to check a folder and to plan warm-ups; the ranks read it to load.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from warmup.engine.backends import load
from warmup.engine.diffusion.params import Sampling
from warmup.engine.model_files import read_json
from warmup.words.errors import UsageError


class DiffusionTask(str, enum.Enum):
    """What goes in and what comes out: T text, I image, V video."""

    T2I = "T2I"
    I2I = "I2I"
    TI2I = "TI2I"
    T2V = "T2V"
    I2V = "I2V"
    TI2V = "TI2V"

    @property
    def accepts_image(self) -> bool:
        return "I2" in self.value

    @property
    def requires_image(self) -> bool:
        """The text alone is not enough; TI2I and TI2V leave that to the family."""
        return self.value.startswith("I2")

    @property
    def makes_video(self) -> bool:
        return self.value.endswith("V")


@dataclass(frozen=True)
class Component:
    """One entry of model_index.json: the classes that may stand there. `()`: any of its library's.

    A component that is not `required` may be absent or null. `in_float32`: bf16 hurts its output.
    """

    classes: tuple[str, ...] = ()
    required: bool = True
    in_float32: bool = False


@dataclass(frozen=True)
class FamilySpec:
    """One family. `model` is the `module:class` that runs it (`engine/diffusion/model.py`).

    defaults: the model's own sampling parameters; a `generation_config.json` in the model folder
    overrides them. size_multiple: what width and height must be multiples of.
    frame_multiple: number of frames is a multiple of this plus 1 (video only).
    has_cfg: it denoises with a positive and a negative branch.
    """

    name: str
    pipeline: str
    task: DiffusionTask
    components: Mapping[str, Component]
    defaults: Sampling
    model: str
    requires_image: bool = False
    requires_prompt: bool = False
    min_image_side: int = 1
    size_multiple: int = 16
    frame_multiple: int = 4
    has_cfg: bool = True
    # Where the default size stands in the folder: (component, config key, times the VAE's scale).
    size_source: tuple[str, str, bool] | None = field(default=None)

    @property
    def needs_image(self) -> bool:
        return self.requires_image or self.task.requires_image


@dataclass(frozen=True)
class ModelIndex:
    """A folder's model_index.json, read once a process.

    components: name → (library, class); those that are null are left out. entries: all of it.
    """

    spec: FamilySpec
    components: Mapping[str, tuple[str, str]]
    entries: Mapping[str, Any]


# By `_class_name` of model_index.json.
_FAMILIES = {
    "StableDiffusion3Pipeline": "warmup.engine.diffusion.families.sd3:SPEC",
    "QwenImageEditPipeline": "warmup.engine.diffusion.families.qwen_image_edit:SPEC",
    "WanImageToVideoPipeline": "warmup.engine.diffusion.families.wan_i2v:SPEC",
    "Flux2Pipeline": "warmup.engine.diffusion.families.flux2:SPEC",
}


def read_index(folder: Path) -> ModelIndex:
    """Raises `UsageError` naming the file: a pipeline that no family runs, a missing component, a
    wrong class, a missing folder."""
    path = folder / "model_index.json"
    entries = read_json(path)
    pipeline = entries.get("_class_name")
    if pipeline not in _FAMILIES:
        raise UsageError(
            f"{path}: no family runs pipeline {pipeline!r}",
            hint=f"known: {', '.join(sorted(_FAMILIES))}",
        )
    spec: FamilySpec = load(_FAMILIES[pipeline])
    found: dict[str, tuple[str, str]] = {}
    for name, component in spec.components.items():
        entry = entries.get(name)
        if not isinstance(entry, list) or len(entry) != 2 or None in entry:
            if component.required:
                raise UsageError(f"{path}: component {name!r} is missing")
            continue
        library, class_name = str(entry[0]), str(entry[1])
        if component.classes and class_name not in component.classes:
            raise UsageError(
                f"{path}: component {name!r} is a {class_name}",
                cause=f"{spec.name} needs {' or '.join(component.classes)}",
            )
        if not (folder / name).is_dir():
            raise UsageError(f"{path} names component {name!r}, but {folder / name} is missing")
        found[name] = (library, class_name)
    return ModelIndex(spec, found, entries)


def get_defaults(folder: Path, spec: FamilySpec) -> Sampling:
    """The family's defaults, with the folder's own size and its generation_config.json on top."""
    given = msgspec.to_builtins(spec.defaults)
    size = _find_size(folder, spec)
    if size is not None:
        given |= {"width": size, "height": size}
    path = folder / "generation_config.json"
    if path.is_file():
        given |= read_json(path)
    try:
        return msgspec.convert(given, Sampling)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: {error}") from None


def _find_size(folder: Path, spec: FamilySpec) -> int | None:
    """The side in pixels that the model was made for, if a config says it."""
    if spec.size_source is None:
        return None
    component, key, in_latents = spec.size_source
    size = read_json(folder / component / "config.json").get(key)
    if not isinstance(size, int):
        return None
    return size * get_vae_scale(folder) if in_latents else size


def get_vae_scale(folder: Path) -> int:
    """Pixels per latent side, from the VAE's config.json (2 per downsampling)."""
    config = read_json(folder / "vae" / "config.json")
    channels = config.get("block_out_channels")
    return int(2 ** (len(channels) - 1)) if isinstance(channels, list) and channels else 8
