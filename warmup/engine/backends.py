"""From a model folder to the backend that serves it, and what `engine/http.py` and
`engine/warmup.py` ask of its HTTP half. Imports nothing heavy."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from warmup.engine.args import ServerArgs
from warmup.engine.client import RankClient
from warmup.words.errors import UsageError

HTTP = "http"


@dataclass(frozen=True)
class Warmup:
    """One warm-up request: what it is called in the log, and what goes through the scheduler.

    kind: of a request to the ranks; or HTTP, and the payload {path, body} is posted to ourselves.
    image_size: (width, height) of the warm-up image that the ranks must make first; None: none.
    Its path joins the payload as `image_path`.
    smaller: the payloads to try after an out-of-memory, largest first (at most three are used).
    """

    name: str
    kind: str
    payload: dict[str, Any]
    image_size: tuple[int, int] | None = None
    smaller: tuple[dict[str, Any], ...] = field(default=())


class Frontend(Protocol):
    """The HTTP half of a backend: made in the HTTP process by its `make_frontend(args)`, which
    raises `UsageError` for folders and settings that cannot work, before any rank is started."""

    @property
    def info(self) -> dict[str, Any]:
        """Facts for /model_info (JSON), known from the folder alone."""

    @property
    def model_card(self) -> dict[str, Any]:
        """What the model's entry in /v1/models says beyond its name."""

    def add_routes(self, app: Any, client: RankClient) -> None:
        """Add the API's paths to a FastAPI app. Held by the gate until READY."""

    def get_warmups(self) -> list[Warmup]:
        """What to run before READY, in order; [] if nothing."""

    def close(self) -> None:
        """Give back what outlives the process."""


@dataclass(frozen=True)
class Backend:
    """`runner` and `frontend` are `module:function`; worker.py says what they make."""

    name: str
    runner: str
    frontend: str

    def make_frontend(self, args: ServerArgs) -> Frontend:
        make: Callable[[ServerArgs], Any] = load(self.frontend)
        return make(args)


DIFFUSION = Backend(
    "diffusion",
    "warmup.engine.diffusion.runner:make_runner",
    "warmup.engine.diffusion.frontend:make_frontend",
)
VLM = Backend(
    "vlm", "warmup.engine.vlm.runner:make_runner", "warmup.engine.vlm.frontend:make_frontend"
)


def load(target: str) -> Any:
    """The object that `module:name` names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def get_backend(model: str) -> Backend:
    """diffusers folders have a model_index.json, transformers folders a config.json.

    Raises `UsageError` for anything else; a hub id is not looked up.
    """
    folder = Path(model)
    if not folder.is_dir():
        raise UsageError(
            f"no model folder {model}",
            hint="the reference engine serves local folders: download the model first",
        )
    if (folder / "model_index.json").is_file():
        return DIFFUSION
    if (folder / "config.json").is_file():
        return VLM
    raise UsageError(
        f"{model} is not a model folder",
        cause="neither model_index.json (diffusers) nor config.json (transformers) is in it",
    )
