"""The engines, found by the word of `engine = "…"`; one is imported only when it is asked for."""

from __future__ import annotations

from warmup.launch.engine import Engine
from warmup.launch.launch import Launch
from warmup.launch.reference_models import is_served
from warmup.words.errors import UsageError
from warmup.words.names import ENGINE_NAMES

# Nothing is known of a hub id without the hub, so these are all that take one.
HUB_ENGINES = ("sglang", "vllm", "transformers", "sglang-diffusion")


def get_engine(name: str) -> Engine:
    """The adapter of this name. Raises UsageError, with the names there are."""
    import importlib

    if name not in ENGINE_NAMES:
        import difflib

        close = difflib.get_close_matches(name.lower(), ENGINE_NAMES, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(
            f"unknown engine {name!r}", hint=f"{hint}engines are {', '.join(ENGINE_NAMES)}"
        )
    module = importlib.import_module(f"warmup.launch.engines.{name.replace('-', '_')}")
    engine: Engine = module.ENGINE
    return engine


def find_engines_for(launch: Launch) -> tuple[str, ...]:
    """Engines that might serve this launch's model, best first; () where nothing says so.

    A local folder is judged by its config.json or model_index.json; for a hub id, all that take
    one. `command` serves whatever its command does.
    Raises UsageError for files that cannot be read.
    """
    folder = launch.contents
    if folder is None:
        return HUB_ENGINES
    own = ("reference",) if is_served(folder) else ()
    if folder.pipeline is not None:
        return (*own, "sglang-diffusion")
    return (*own, "transformers", "sglang", "vllm") if folder.has_config else ()
