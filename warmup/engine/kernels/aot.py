"""Compile the engine's Triton kernels for a GPU that is not here.

The handler of a compile worker (`start`). A model is built on the meta device, in one rank's
sizes; the very wrappers that the engine calls then meet meta tensors, and what each would compile
is written down as Triton describes it (`specialization_data`). Those descriptions are compiled
one by one (`JITFunction.preload`), by any worker. So signature, options and key are Triton's own,
those that the engine looks up on the GPU machine.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.language import standard
from triton.runtime.driver import driver

from warmup.engine.args import ServerArgs
from warmup.engine.kernels import fp8, launch
from warmup.engine.kernels.fusions import find_fusions
from warmup.engine.kernels.launch import CompiledKernels
from warmup.engine.kernels.rotary import rotate
from warmup.words.errors import UsageError

META = torch.device("meta")
DTYPE = torch.bfloat16  # what `--dtype auto` is on a GPU (engine/ranks.py)
WARP_SIZE = 32


def start(args: list[str]) -> Callable[[dict[str, Any]], Any]:
    """args: the target, `cuda:90`."""
    target = parse_target(args[0])

    def handle(payload: dict[str, Any]) -> Any:
        if payload["op"] == "list":
            model, tp = payload["model"], payload["tp"]
            return list_launches(model, tp, use_fp8=payload["fp8"], target=target)
        return compile_launch(payload["module"], payload["name"], payload["data"], target)

    return handle


def parse_target(text: str) -> GPUTarget:
    """`cuda:90` → compute capability 9.0. Raises UsageError."""
    backend, _, capability = text.partition(":")
    if backend != "cuda" or not capability.isdigit() or not 70 <= int(capability) <= 130:
        raise UsageError(f"no target is called {text!r}", hint="for an H100 or H200: cuda:90")
    return GPUTarget(backend, int(capability), WARP_SIZE)


def compile_launch(module: str, name: str, data: str, target: GPUTarget) -> dict[str, Any]:
    """Compile what `list_launches` described into Triton's cache folder."""
    found = importlib.import_module(module)
    for source in (found, standard):
        _forget_place(source)
    with launch.compile_only(target):
        kernel = getattr(found, name).preload(data)
    return {"kernel": kernel.metadata.name, "hash": kernel.hash}


def _forget_place(module: ModuleType) -> None:
    """Let line information name a module's file as every installation would.

    The key does not hold it, and a cache for other machines should not tell where this one keeps
    its packages.
    """
    neutral = f"{module.__name__.replace('.', '/')}.py"
    for each in vars(module).values():
        if isinstance(each, triton.JITFunction):
            each.fn.__code__ = each.fn.__code__.replace(co_filename=neutral)
            each.file_name = neutral  # Triton 3.9 took it when it was made


def list_launches(model: str, tp: int, *, use_fp8: bool, target: GPUTarget) -> list[dict[str, str]]:
    """Every distinct kernel of one rank: {module, name, data}. Nothing is compiled.

    Raises UsageError for a folder that the engine does not serve.
    """
    with listing(target) as found:
        if (Path(model) / "model_index.json").is_file():
            _launch_diffusion(model, use_fp8)
        else:
            _launch_vision_language(Path(model), tp, use_fp8)
    return list(found.values())


class _Listing(CompiledKernels):
    """What the wrappers report to while nothing is compiled: there is no kernel to report."""

    def add(self, kernel: Any) -> None:
        assert kernel is None


class _ListingDriver(launch._TargetDriver):
    """A device that no kernel was compiled for yet: Triton asks its hook about every launch."""

    def get_current_device(self) -> tuple[str, Any]:
        return ("listing", id(self))


@contextlib.contextmanager
def listing(target: GPUTarget) -> Iterator[dict[str, dict[str, str]]]:
    """Inside, a launch is written down by its description instead of compiled."""
    found: dict[str, dict[str, str]] = {}

    def note(*, fn: Any, compile: dict[str, Any], **_: Any) -> bool:
        data = compile["specialization_data"]
        found.setdefault(data, {"module": fn.module, "name": fn.name, "data": data})
        return True  # already there, as far as Triton is concerned

    hook = triton.knobs.runtime.jit_cache_hook
    with launch.compile_only(target):
        driver.set_active(_ListingDriver(target))
        launch._compiling.append(_Listing())
        triton.knobs.runtime.jit_cache_hook = note
        try:
            yield found
        finally:
            triton.knobs.runtime.jit_cache_hook = hook
            launch._compiling.pop()


def _launch_diffusion(model: str, use_fp8: bool) -> None:
    from warmup.engine.diffusion.loading import load_model

    args = ServerArgs(model=model, load_format="dummy", dtype="bfloat16")
    for transformer in load_model(args, META).transformers:
        _launch_fused(transformer)
        if use_fp8:
            _launch_quantise(transformer)


def _launch_vision_language(folder: Path, tp: int, use_fp8: bool) -> None:
    from warmup.engine.vlm import ops
    from warmup.engine.vlm.attention import CachedAttention, WindowAttention
    from warmup.engine.vlm.build import build
    from warmup.engine.vlm.families import check_tp, read_model
    from warmup.engine.vlm.parallel import Tp

    family, config = read_model(folder)
    check_tp(config, tp)
    model = build(family, config, Tp(0, tp), DTYPE, META, max_batch=1, max_len=1).model
    _launch_fused(model)
    for module in model.modules():
        if isinstance(module, (CachedAttention, WindowAttention)):
            heads = module.heads
            joint = _meta(2, heads.num_q + 2 * heads.num_kv, heads.dim)
            q, k, _ = joint.split((heads.num_q, heads.num_kv, heads.num_kv), dim=1)
            angles = torch.empty(2, heads.dim, device=META)
            rotate(q, k, angles, angles)
        elif isinstance(module, ops.GatedMlp):
            ops.silu_and_mul(_meta(2, module.gate_up.out_features))
    if use_fp8:
        _launch_quantise(model)


def _launch_fused(model: torch.nn.Module) -> None:
    for fusion, module, parent in find_fusions(model):
        fusion.forward(module, *fusion.example(module, parent, DTYPE))


def _launch_quantise(model: torch.nn.Module) -> None:
    """The inputs of every linear that `--fp8` converts."""
    for linear in fp8.find_linears(model):
        fp8.quantise_rows(_meta(2, linear.in_features))


def _meta(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, dtype=DTYPE, device=META)
