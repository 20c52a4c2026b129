"""The environment of a server: the caller's, the engine's additions, the launch's own on top."""

from __future__ import annotations

from collections.abc import Mapping

from warmup.launch.base import Engine, Launch, Slots

# What a launch is looked at with before it has a port: values that no cache folder depends on.
UNSTARTED = Slots(port=0, run_dir="/nonexistent/run")


def get_server_env(
    launch: Launch, engine: Engine, slots: Slots, base: Mapping[str, str]
) -> dict[str, str]:
    """Every variable that the server will see. base: the caller's, cache variables included."""
    return {**base, **engine.get_env(launch, slots)}
