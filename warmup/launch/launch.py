"""What one launch of a server is: everything a user or a workflow said of one model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from warmup.launch.folder import ModelFolder, find_folder, read_folder
from warmup.launch.hub_cache import HubFiles, find_snapshot
from warmup.launch.record import LaunchRecord, make_record
from warmup.words import encoding

Method = Literal["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"]
# How many requests a warm-up sends: one; a few that stand for what tests send; more of them.
Ladder = Literal["off", "short", "full"]
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


class Launch(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One model as it will be served; every setting already resolved (room `workflow`).

    model: hub id or absolute local folder; label: what the user wrote for it. tp: number of GPUs
    of the server, >= 1. python: interpreter of the engine's environment. All `_s` are seconds.
    request: what is sent first, instead of the engine's own request; requests: what is sent then,
    instead of the engine's ladder (the first of them first, where there is no `request`).
    max_processes: RLIMIT_NPROC of the server, which counts all threads of its user; 0 sets none.
    hub: what the hub's cache has of an id, for an engine that is given folders alone; else None.
    What is derived is computed once: a record reads files.
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
    requests: tuple[RequestSpec, ...] = ()
    ladder: Ladder = "short"
    weights: Literal["real", "dummy"] = "real"
    trust_remote_code: bool = False
    crash_patterns: tuple[str, ...] = ()
    start_timeout_s: float = 900.0
    request_timeout_s: float = 600.0
    stop_grace_s: float = 4.0
    max_processes: int = 0
    source_paths: tuple[str, ...] = ()
    prove: bool = False
    strategy: Literal["auto", "kernels", "server"] = "auto"
    workflow_dir: str = ""
    hub: HubFiles | None = None

    def __post_init__(self) -> None:
        if not self.label:
            msgspec.structs.force_setattr(self, "label", self.model)

    @property
    def name(self) -> str:
        """`MODEL:TP`, as a user names it on the command line."""
        return f"{self.label}:{self.tp}"

    @cached_property
    def folder(self) -> Path | None:
        """The model's local folder, absolute, there or not; None for a hub id."""
        return find_folder(self.model)

    @property
    def files(self) -> Path | None:
        """The local folder, or the snapshot of an id that was looked up (`hub`); else None."""
        snapshot = "" if self.hub is None else self.hub.snapshot
        return Path(snapshot) if snapshot else self.folder

    @property
    def model_argument(self) -> str:
        """What a server is told: the hub id as written, or the folder's absolute path."""
        return self.model if self.folder is None else str(self.folder)

    @cached_property
    def record(self) -> LaunchRecord:
        """What the key hashes."""
        return make_record(
            engine=self.engine,
            model=self.model,
            tp=self.tp,
            revision=self.revision,
            weights=self.weights,
            trust_remote_code=self.trust_remote_code,
            command=self.command,
            fallback_args=self.fallback_args,
            env=self.env,
            files=self.files,
        )

    @property
    def key(self) -> str:
        """The launch key, 16 hex digits."""
        return self.record.key

    @property
    def own_requests(self) -> tuple[RequestSpec, ...]:
        """What the workflow itself says is to be sent; () leaves it to the engine."""
        first = () if self.request is None else (self.request,)
        return (*first, *self.requests)

    @property
    def climbs(self) -> str:
        """What its warm-up sends, as a marker records it: `off`, `short`, `full`, `own:DIGEST`.

        A server of engine `command` has no ladder but the workflow's own requests. Where it names
        `requests`, the first of all counts too: another one may meet other kernels.
        """
        if self.requests and self.ladder != "off":
            return f"own:{encoding.get_digest(msgspec.to_builtins(self.own_requests))[:16]}"
        return "off" if self.own_requests or self.engine == "command" else self.ladder

    @cached_property
    def contents(self) -> ModelFolder | None:
        """What its files say of the model; None for a hub id without any. Raises UsageError."""
        return None if self.files is None else read_folder(self.files)

    def find_files(self, env: Mapping[str, str]) -> Path | None:
        """The local folder, or the hub cache's snapshot; None where the cache has none yet.

        env: the server's, which says where that cache is.
        """
        return self.files or find_snapshot(self.model, self.revision, env)
