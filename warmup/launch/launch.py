"""What one launch of a server is, and what an engine adapter must know to make it.

A `Launch` is data: everything a user or a workflow said of one model. An `Engine` turns it into
argv, environment, a health path and one real request, and judges the answer. Adapters are pure:
they start nothing and import no engine.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol

import msgspec
from msgspec import Meta

from warmup.words.errors import WarmupError

Method = Literal["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"]
# What may stand in a request without changing where it ends.
UrlPath = Annotated[str, Meta(pattern=r"^/[^\x00-\x20\x7f]*\Z")]
_HeaderName = Annotated[str, Meta(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")]
_HeaderValue = Annotated[str, Meta(pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*\Z")]


class RequestSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One HTTP request and what a good answer to it is.

    `json` is sent as the body where it is not None. A good answer has status `expect_status` and,
    where `expect_text` is not empty, contains it (UTF-8).
    """

    path: UrlPath
    method: Method = "POST"
    json: Any = None
    headers: dict[_HeaderName, _HeaderValue] = {}
    expect_status: Annotated[int, Meta(ge=100, le=599)] = 200
    expect_text: str = ""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One model as it will be served; every setting already resolved (floor `plan`).

    model: hub id or absolute local folder; label: what the user wrote for it, "" where that is
    the same. tp: number of GPUs of the server, >= 1.
    python: interpreter of the engine's environment. All `_s` are seconds.
    """

    model: str
    label: str = ""
    tp: int
    engine: str
    python: str
    revision: str | None = None
    fallback_args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    command: tuple[str, ...] = ()
    health_path: str | None = None
    request: RequestSpec | None = None
    weights: Literal["real", "dummy"] = "real"
    trust_remote_code: bool = False
    crash_patterns: tuple[str, ...] = ()
    start_timeout_s: float = 900.0
    request_timeout_s: float = 600.0
    stop_grace_s: float = 4.0
    source_paths: tuple[str, ...] = ()
    prove: bool = False
    strategy: Literal["auto", "kernels", "server"] = "auto"
    workflow_dir: str = ""

    @property
    def name(self) -> str:
        """`MODEL:TP`, as a user names it on the command line."""
        return f"{self.label or self.model}:{self.tp}"


class Slots(msgspec.Struct, frozen=True, kw_only=True):
    """What is known only when a server starts: the values of the placeholders.

    port: where HTTP must listen, on 127.0.0.1. extra_ports: `Engine.num_extra_ports` more, all
    leased together with it. gpus: device indices, comma-separated, "" without a GPU.
    """

    port: int
    extra_ports: tuple[int, ...] = ()
    gpus: str = ""
    run_dir: str
    workflow_dir: str = ""


PLACEHOLDERS = ("port", "model", "tp", "gpus", "run_dir", "workflow_dir")


class Engine(Protocol):
    """One file of `warmup/launch/` each; found through `warmup.launch.engine_table`."""

    @property
    def name(self) -> str:
        """The word of `engine = "…"` in a workflow."""

    @property
    def distribution(self) -> str | None:
        """The Python distribution whose version is the engine's; None where there is none."""

    @property
    def families(self) -> tuple[str, ...]:
        """Names of the JIT cache families that such a server fills."""

    @property
    def crash_patterns(self) -> tuple[str, ...]:
        """Substrings of a log line after which this server will never be ready."""

    @property
    def num_extra_ports(self) -> int:
        """Ports it opens besides HTTP's (rendezvous, NCCL, …)."""

    def find_problem(self, launch: Launch) -> WarmupError | None:
        """Why this launch cannot work, as far as can be seen without starting it."""

    def get_argv(self, launch: Launch, slots: Slots) -> list[str]:
        """The exact command; fallback arguments last, so that they win."""

    def get_env(self, launch: Launch, slots: Slots) -> dict[str, str]:
        """Variables to add to the caller's environment; the launch's own win."""

    def get_health_path(self, launch: Launch) -> str:
        """Path whose 200 means ready."""

    def get_request(self, launch: Launch) -> RequestSpec:
        """The one real request of the warm-up."""

    def find_fault(self, launch: Launch, status: int, body: bytes) -> str | None:
        """What is wrong with the answer to `get_request`; None if it is good."""
