"""The environment of a server: the caller's, the engine's additions, the launch's own on top."""

from __future__ import annotations

from collections.abc import Mapping

from warmup.launch.engine import Allocation, Engine
from warmup.launch.launch import Launch

_LOOPBACK = "127.0.0.1,localhost"
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
# What a launch is looked at with before it has a port: values that no cache folder depends on.
UNSTARTED = Allocation(port=0, run_dir="/nonexistent/run")


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
