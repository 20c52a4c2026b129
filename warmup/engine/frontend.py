"""The HTTP half of a backend: what `engine/http.py` and `engine/warmup.py` ask of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from warmup.engine.client import RankClient

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
    """Made in the HTTP process by a backend's `make_frontend(args)`, which raises `UsageError` for
    folders and settings that cannot work, before any rank is started."""

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
