"""Compile the Triton kernels that a model folder's engine will launch, with or without a GPU.

    python -m warmup.engine.kernels.compile --model DIR [--tp N] [--target cuda:90] [--dtype …]

The model is laid out on the meta device from its config alone; then each module that a kernel of
ours stands in for is called as the engine calls it, under `compile_only`. Entries go to Triton's
cache folder (`TRITON_CACHE_DIR`), under the keys that the engine looks up with the same Triton on
the target. Prints one JSON document: {"schema": 1, "target", "dtype", "kernels": {name: [hash]}}.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from triton.backends.compiler import GPUTarget

from warmup.engine.kernels import fp8, fusions
from warmup.engine.kernels.launch import Compiled, compile_only
from warmup.words.errors import UsageError, WarmupError

WARP_SIZES = {"cuda": 32}


def parse_target(text: str) -> GPUTarget:
    """`cuda:90` → compute capability 9.0. Raises `UsageError` for what we have no kernels for."""
    backend, _, capability = text.partition(":")
    if backend not in WARP_SIZES or not capability.isdecimal():
        raise UsageError(f"--target {text} is not known", hint="cuda:90 is an H100 or H200")
    return GPUTarget(backend, int(capability), WARP_SIZES[backend])


def compile_model(
    model: torch.nn.Module, target: GPUTarget, dtype: torch.dtype, with_fp8: bool = False
) -> Compiled:
    """Every kernel that `model`, laid out on meta in this rank's sizes, will launch on `target`."""
    with torch.device("meta"), torch.no_grad(), compile_only(target) as compiled:
        for fusion, module, parent in fusions.find_fusions(model):
            fusion.forward(module, *fusion.example(module, parent, dtype))
        for module in model.modules():
            _call_own(module, dtype)
        if with_fp8:
            for linear in fp8.find_linears(model):
                fp8.quantise_rows(torch.empty(2, linear.in_features, dtype=torch.bfloat16))
    return compiled


def _call_own(module: torch.nn.Module, dtype: torch.dtype) -> None:
    """Our vision-language modules, up to where ranks would talk."""
    from warmup.engine.vlm import ops
    from warmup.engine.vlm.attention import CachedAttention, WindowAttention, project

    if isinstance(module, (CachedAttention, WindowAttention)):
        hidden = torch.empty(2, module.qkv.in_features, dtype=dtype)
        angles = torch.empty(2, module.heads.dim), torch.empty(2, module.heads.dim)
        project(module.qkv, module.heads, hidden, angles)
    elif isinstance(module, ops.GatedMlp):
        ops.silu_and_mul(torch.empty(2, module.gate_up.out_features, dtype=dtype))


def lay_out(folder: Path, tp: int, dtype: torch.dtype) -> list[torch.nn.Module]:
    """The parts of the folder's model that get kernels, on meta, as rank 0 of `tp` holds them."""
    if (folder / "model_index.json").is_file():
        return _lay_out_diffusion(folder, dtype)
    from warmup.engine.vlm.build import build
    from warmup.engine.vlm.families import check_tp, get_family, read_config
    from warmup.engine.vlm.parallel import Tp

    config = read_config(folder)
    check_tp(config, tp)
    meta = torch.device("meta")
    return [build(get_family(folder), config, Tp(0, tp), dtype, meta, 1, 16).model]


def _lay_out_diffusion(folder: Path, dtype: torch.dtype) -> list[torch.nn.Module]:
    """transformer and, where there is one, transformer_2: what `engine/diffusion` denoises with."""
    import diffusers

    index: dict[str, Any] = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    models = []
    for name in ("transformer", "transformer_2"):
        library, cls_name = index.get(name) or ("", "")
        if library == "diffusers":
            cls = getattr(diffusers, str(cls_name))
            with torch.device("meta"):
                models.append(cls.from_config(cls.load_config(folder / name)).to(dtype))
    return models


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="warmup.engine.kernels.compile", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="local model folder")
    parser.add_argument("--tp", type=int, default=1)
    parser.add_argument("--target", default="cuda:90")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--fp8", action="store_true")
    args = parser.parse_args(argv)
    dtype: torch.dtype = getattr(torch, args.dtype)
    kernels: dict[str, set[str]] = {}
    try:
        target = parse_target(args.target)
        for model in lay_out(args.model, args.tp, dtype):
            compiled = compile_model(model, target, dtype, args.fp8)
            for name, hashes in compiled.hashes.items():
                kernels.setdefault(name, set()).update(hashes)
    except WarmupError as error:
        print(error.render(), file=sys.stderr)
        return error.exit_status
    listed = {name: sorted(hashes) for name, hashes in sorted(kernels.items())}
    document = {"schema": 1, "target": args.target, "dtype": args.dtype, "kernels": listed}
    print(json.dumps(document))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
