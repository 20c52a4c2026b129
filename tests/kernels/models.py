"""Published configs as model folders, and damaged ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from warmup.kernels.derive import ModelShapes, derive
from warmup.kernels.shapes import Shape
from warmup.launch.launch import Launch

CONFIGS = Path(__file__).parent / "configs"
V3 = "deepseek-v3"


def get_config(name: str, **changes: Any) -> dict[str, Any]:
    """The published config; a change of None takes the key away."""
    config = {**json.loads((CONFIGS / f"{name}.json").read_text()), **changes}
    return {key: value for key, value in config.items() if value is not None or key not in changes}


def write_model(folder: Path, name: str, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(get_config(name, **changes)))
    return folder


def derive_from(
    folder: Path, name: str, tp: int, *args: str, engine: str = "sglang", **changes: Any
) -> ModelShapes:
    """The published model with these changes, launched with these arguments."""
    env = changes.pop("env", {})
    path = write_model(folder / name, name, **changes)
    launch = Launch(
        model=str(path), label=name, tp=tp, engine=engine, python="python", fallback_args=args
    )
    return derive(launch, env)


def get_shapes(model: ModelShapes, *kinds: str) -> set[tuple[str, int, int, int]]:
    """Without kinds: of its products, the transposes left out."""
    assert model.strategy == "kernels", model.reason
    wanted = kinds or ("NORMAL", "CONTIG", "MASKED")
    return {(s.kind, s.n, s.k, s.groups) for s in model.shapes if s.kind in wanted}


def both(n: int, k: int, groups: int) -> set[tuple[str, int, int, int]]:
    return {("CONTIG", n, k, groups), ("MASKED", n, k, groups)}


def normal(*sizes: tuple[int, int]) -> set[tuple[str, int, int, int]]:
    return {("NORMAL", n, k, 1) for n, k in sizes}


SHAPES = (
    Shape("NORMAL", 2112, 7168),
    Shape("NORMAL", 24576, 1536),
    Shape("NORMAL", 64, 128),
    Shape("CONTIG", 512, 7168, 257),
    Shape("CONTIG", 2048, 768, 128),
    Shape("MASKED", 7168, 256, 257),
    Shape("MASKED", 1536, 2048, 128),
)
