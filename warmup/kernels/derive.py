"""From one launch to the shapes of its kernels, or to the reason why its server must compile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from warmup.kernels.arguments import get_sglang_layout, get_vllm_layout
from warmup.kernels.config import get_config_path, read_config
from warmup.kernels.models import get_model
from warmup.kernels.products import Products
from warmup.kernels.shapes import Ask, NotModelledError, Shape
from warmup.launch.api import Launch
from warmup.words.errors import UsageError

# The families that are compiled here without a server.
FAMILIES = ("deep_gemm",)
_LAYOUTS = {"sglang": get_sglang_layout, "vllm": get_vllm_layout}


class ModelShapes(msgspec.Struct, frozen=True, kw_only=True):
    """One model of `kernels list`.

    architecture: as config.json names it, None where that could not be read. strategy: `kernels`
    where `shapes` are all that its ranks ask for; `server` where only a server can tell, and
    `reason` says why. max_m: tokens of the largest batch; None without shapes. halved: those of
    the shapes that also run on half of the SMs.
    """

    model: str
    tp: int
    architecture: str | None
    strategy: Literal["kernels", "server"]
    reason: str
    shapes: tuple[Shape, ...] = ()
    max_m: int | None = None
    halved: tuple[Shape, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.model}:{self.tp}"

    def to_data(self) -> dict[str, object]:
        """The model's object of `kernels list --json`."""
        data: dict[str, object] = msgspec.to_builtins(self)
        del data["max_m"], data["halved"]
        return data

    @property
    def asks(self) -> dict[Ask, int]:
        """Each shape as it runs, with the largest M of it."""
        asks = [*map(Ask, self.shapes), *(Ask(shape, True) for shape in self.halved)]
        return {ask: ask.get_max_m(self.max_m or 0) for ask in asks}


def derive(launch: Launch, env: Mapping[str, str], engine: str = "") -> ModelShapes:
    """env: the server's. engine: whose shapes, "" the launch's own.

    Raises UsageError for a config or sizes that no engine could serve.
    """
    engine = engine or launch.engine
    architecture: str | None = None
    try:
        get_layout = _LAYOUTS.get(engine)
        if get_layout is None:
            raise NotModelledError(f"kernels of engine {engine} are not derived from a config")
        layout = get_layout(launch.name, launch.tp, launch.fallback_args, env)
        config = read_config(get_config_path(launch.model, launch.revision, env))
        architecture = next(iter(config.architectures), config.model_type or None)
        known = get_model(config)
        products = Products(config, layout, launch.name)
        known.derive(products)
        if engine == "sglang":
            products.add_transposes()
    except NotModelledError as error:
        return _leave_to_server(launch, error.reason, architecture)
    return ModelShapes(
        model=launch.label,
        tp=launch.tp,
        architecture=architecture,
        strategy="kernels",
        reason=f"{known.name} on {engine} is modelled, and so are all of its arguments",
        shapes=tuple(products.shapes),
        max_m=layout.max_m,
        halved=tuple(products.halved),
    )


def derive_or_leave(launch: Launch, env: Mapping[str, str]) -> ModelShapes:
    """The same for `run`: what `derive` raises is a reason to leave the model to its server."""
    try:
        return derive(launch, env)
    except UsageError as error:
        return _leave_to_server(launch, error.reason)


def _leave_to_server(launch: Launch, reason: str, architecture: str | None = None) -> ModelShapes:
    return ModelShapes(
        model=launch.label,
        tp=launch.tp,
        architecture=architecture,
        strategy="server",
        reason=reason,
    )


def merge_asks(models: Sequence[ModelShapes]) -> dict[Ask, int]:
    """Each once, with the largest M of the models that ask for it."""
    merged: dict[Ask, int] = {}
    for model in models:
        for ask, max_m in model.asks.items():
            merged[ask] = max(merged.get(ask, 0), max_m)
    return merged
