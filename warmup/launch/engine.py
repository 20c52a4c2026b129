"""What an engine adapter must know, and what it is given when a server starts.

An `Engine` turns a `Launch` into argv, environment, a health path and one real request, and judges
the answer. Adapters are pure: they start nothing and import no engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from warmup.launch.arguments import part_monitors
from warmup.launch.ladder import LadderStep
from warmup.launch.launch import Launch, RequestSpec
from warmup.words.errors import WarmupError

_LOOPBACK = "127.0.0.1,localhost"
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """What is known only when a server starts: the values of the placeholders.

    port: where HTTP must listen, on 127.0.0.1. extra_ports: `Engine.num_extra_ports` more, all
    leased together with it. gpus: device indices, comma-separated, "" without a GPU.
    """

    port: int
    extra_ports: tuple[int, ...] = ()
    gpus: str = ""
    run_dir: str
    workflow_dir: str = ""


# What a launch is looked at with before it has a port: values that no cache folder depends on.
UNSTARTED = Allocation(port=0, run_dir="/nonexistent/run")
PLACEHOLDERS = ("port", "model", "tp", "gpus", "run_dir", "workflow_dir")


class Engine(Protocol):
    """One file of `warmup/launch/engines/` each; found through `warmup.launch.engine_table`."""

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
    def has_dummy_weights(self) -> bool:
        """Whether it serves random weights in place of a checkpoint's."""

    @property
    def num_extra_ports(self) -> int:
        """Ports it opens besides HTTP's (rendezvous, NCCL, …)."""

    def locate(self, launch: Launch, env: Mapping[str, str]) -> Launch:
        """The launch with what the hub's cache has of its id, where the engine wants a folder.

        env: the server's. Raises UsageError for files that cannot be read.
        """

    def find_problem(self, launch: Launch) -> WarmupError | None:
        """Why this launch cannot work, as far as can be seen without starting it."""

    def get_argv(self, launch: Launch, allocation: Allocation) -> list[str]:
        """The exact command; fallback arguments last, so that they win."""

    def get_env(self, launch: Launch, allocation: Allocation) -> dict[str, str]:
        """Variables to add to the caller's environment; the launch's own win."""

    def get_health_path(self, launch: Launch) -> str:
        """Path whose 200 means ready."""

    def get_request(self, launch: Launch, env: Mapping[str, str]) -> RequestSpec:
        """The one real request of the warm-up, for a server that is ready. env: the server's.

        By then the hub's cache holds the model's config.json.
        """

    def get_info_path(self, launch: Launch) -> str | None:
        """Path of a JSON object by which a ready server tells its own limits; None without one."""

    def get_ladder(
        self, launch: Launch, env: Mapping[str, str], info: Mapping[str, Any]
    ) -> tuple[LadderStep, ...]:
        """What is sent after that request, in order; () where the launch wants none.

        info: what `get_info_path` answered, empty where it did not.
        """

    def find_fault(
        self,
        launch: Launch,
        request: RequestSpec,
        status: int,
        body: bytes,
        *,
        is_first: bool = True,
    ) -> str | None:
        """What is wrong with the answer to a request of these; None if it is good.

        is_first: text must have come back. Later ones may be sampled: tokens are enough.
        """


def get_server_argv(
    launch: Launch,
    engine: Engine,
    allocation: Allocation,
    find_version: Callable[[str | None], str | None],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The server's command line, without what its release lacks of the options of an engine's own
    monitors, and those. find_version: of the engine that a distribution is."""
    argv = engine.get_argv(launch, allocation)
    return part_monitors(argv, launch.engine, lambda: find_version(engine.distribution))


def get_server_env(
    launch: Launch, engine: Engine, allocation: Allocation, base: Mapping[str, str]
) -> dict[str, str]:
    """Every variable that the server will see. base: the caller's, cache variables included.

    Python writes its output at once: what lies in a buffer is lost to a SIGKILL, and with it why.
    Where base names a proxy, the loopback address is kept out of it: engines ask themselves over
    HTTP while they start, and a proxy broke that (sglang#28493, sglang#28503).
    """
    bypass = {}
    if any(name.lower() in _PROXIES and base[name] for name in base):
        for name, other in (("no_proxy", "NO_PROXY"), ("NO_PROXY", "no_proxy")):
            said = base.get(name) or base.get(other)
            bypass[name] = f"{said},{_LOOPBACK}" if said else _LOOPBACK
    return {"PYTHONUNBUFFERED": "1", **base, **bypass, **engine.get_env(launch, allocation)}
