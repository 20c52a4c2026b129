"""Loads the components of a diffusers folder, each through its own class."""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from warmup.engine.args import ServerArgs
from warmup.engine.backends import load
from warmup.engine.diffusion.model import DiffusionModel
from warmup.engine.diffusion.spec import get_defaults, read_index
from warmup.engine.kernels.install import install
from warmup.engine.model_files import read_json
from warmup.engine.ranks import get_dtype
from warmup.words.errors import WarmupError

_log = logging.getLogger("warmup.engine")


def load_model(args: ServerArgs, device: torch.device) -> DiffusionModel:
    """The whole pipeline of `args.model` on `device`.

    Raises `WarmupError` naming the component's folder for one that cannot be loaded.
    """
    folder = Path(args.model)
    index = read_index(folder)
    spec = index.spec
    dtype = get_dtype(args, device)
    parts = SimpleNamespace(**dict.fromkeys(spec.components))
    torch.manual_seed(args.seed)
    for name, (library, class_name) in index.components.items():
        own_dtype = torch.float32 if spec.components[name].in_float32 else dtype
        try:
            part = _load_component(folder / name, library, class_name, args, device, own_dtype)
        except Exception as error:
            raise WarmupError(f"cannot load {folder / name} as {class_name}: {error}") from error
        setattr(parts, name, part)
    parts.index = index.entries
    parts.defaults = get_defaults(folder, spec)
    model: DiffusionModel = load(spec.model)(spec, parts, device, dtype)
    tune(model, args)
    return model


def _load_component(
    folder: Path, library: str, class_name: str, args: ServerArgs, device: Any, dtype: torch.dtype
) -> Any:
    if "Processor" in class_name:
        return _load_processor(folder)
    cls = getattr(importlib.import_module(library), class_name, None)
    if cls is None:
        raise AttributeError(f"{library} has no class {class_name}")
    if not issubclass(cls, torch.nn.Module):
        return cls.from_pretrained(folder, local_files_only=True)
    if args.load_format == "dummy":
        module = _make_dummy(cls, folder, library, device, dtype)
    elif library == "diffusers":
        module = cls.from_pretrained(folder, torch_dtype=dtype, local_files_only=True)
    else:
        module = cls.from_pretrained(folder, dtype=dtype, local_files_only=True)
    return module.to(device).eval().requires_grad_(False)


def _load_processor(folder: Path) -> SimpleNamespace:
    """`image_processor` and `tokenizer` of a transformers processor's folder, None if absent.

    Never the combined class: it wants torchvision, which has no CPU build beside a CPU torch.
    """
    from transformers import AutoTokenizer

    tokenizer = None
    if any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return SimpleNamespace(image_processor=find_image_processor(folder), tokenizer=tokenizer)


def _make_dummy(
    cls: Any, folder: Path, library: str, device: Any, dtype: torch.dtype
) -> torch.nn.Module:
    """Random weights of the real sizes, made where they will live. The seed makes ranks agree."""
    if library == "diffusers":
        with _made_on(device, torch.float32):
            return cast(cls.from_config(cls.load_config(folder)), dtype)
    config = cls.config_class.from_pretrained(folder)
    with _made_on(device, dtype):
        # Parts of a model are made in the config's type, whatever the default one is.
        return cast(cls(config), dtype)


def cast(module: Any, dtype: torch.dtype) -> Any:
    """A model's parameters in `dtype`, but for what a diffusers class keeps in float32, as when it
    is loaded from files. Buffers keep their type: rotary frequencies need it."""
    kept = set()
    if hasattr(module, "load_config"):
        kept = set(module._keep_in_fp32_modules or ())
    for name, parameter in module.named_parameters():
        if not kept & set(name.split(".")):
            parameter.data = parameter.data.to(dtype)
    return module


@contextlib.contextmanager
def _made_on(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def tune(model: DiffusionModel, args: ServerArgs) -> None:
    """Our kernels on a GPU, then Inductor, so that it sees what will run."""
    for transformer in model.transformers:
        for kernel, count in install(transformer, args).items():
            model.kernels[kernel] = model.kernels.get(kernel, 0) + count
        if args.torch_compile:
            # Blocks repeat: compiling one compiles all (diffusers' regional compilation).
            if getattr(transformer, "_repeated_blocks", None):
                transformer.compile_repeated_blocks()
            else:
                transformer.compile()


# `image_processor_type` of preprocessor_config.json, "Fast" and "Pil" cut off.
_PIL = {
    "CLIPImageProcessor": "clip.image_processing_pil_clip:CLIPImageProcessorPil",
    "Qwen2VLImageProcessor": "qwen2_vl.image_processing_pil_qwen2_vl:Qwen2VLImageProcessorPil",
}


def find_image_processor(folder: Path) -> Any:
    """The image processor of a folder in its Pillow form, since the others need torchvision; None
    if it has none, or one without a Pillow form here."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return None
    kind = str(read_json(path).get("image_processor_type", ""))
    target = _PIL.get(kind.removesuffix("Pil").removesuffix("Fast"))
    if target is None:
        return None
    return load(f"transformers.models.{target}").from_pretrained(folder, local_files_only=True)
