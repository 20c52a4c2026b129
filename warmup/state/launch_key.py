"""The launch key: what of a launch decides which kernels its server compiles.

In: engine, model with its revision and local configuration, sizes, server arguments, command,
environment of the launch, `weights`, `trust_remote_code`. Out: time limits, crash patterns,
`prove`, the request, where caches lie, and secrets. Placeholders stay as written, so that ports
do not matter.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from warmup.launch.launch import Launch
from warmup.state.relevant_env import is_location
from warmup.words import encoding
from warmup.words.secrets import is_secret_name

_NEGATIVE = re.compile(r"-\.?\d")
_CONFIG_NAMES = ("config.json", "model_index.json")
_MAX_CONFIG_BYTES = 16 << 20

Argument = tuple[str, tuple[str, ...]]
"""A flag ("" before the first, "--" for all that follows one) and its values, in order."""


class LaunchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a launch key hashes, as written, so that two launches can be told apart by people.

    config: digest of a local model's configuration files; None for a hub id.
    """

    engine: str
    model: str
    tp: int
    revision: str | None = None
    config: str | None = None
    weights: str = "real"
    trust_remote_code: bool = False
    command: tuple[str, ...] = ()
    fallback_args: tuple[str, ...] = ()
    env: dict[str, str] = {}

    @property
    def key(self) -> str:
        """16 hex digits. The order of independent flags does not matter."""
        data = msgspec.to_builtins(self)
        data["command"] = _normalise_command(self.command)
        data["fallback_args"] = normalise_args(self.fallback_args)
        return hashlib.sha256(encoding.encode(data)).hexdigest()[:16]


class Sizes(msgspec.Struct, frozen=True):
    """Sizes of the tensor, data, expert and classifier-free-guidance parallel groups."""

    tp: int
    dp: int = 1
    ep: int = 1
    cfg: int = 1


def make_launch_record(launch: Launch) -> LaunchRecord:
    """The part of a launch that its key hashes. Reads the configuration of a local model."""
    return LaunchRecord(
        engine=launch.engine,
        model=encoding.clean(launch.model),
        tp=launch.tp,
        revision=launch.revision,
        config=_find_config_digest(launch.model),
        weights=launch.weights,
        trust_remote_code=launch.trust_remote_code,
        command=tuple(encoding.clean(launch.command)),
        fallback_args=tuple(encoding.clean(launch.fallback_args)),
        env={
            encoding.clean(name): encoding.clean(value)
            for name, value in sorted(launch.env.items())
            if not is_location(name) and not is_secret_name(name)
        },
    )


def make_launch_key(launch: Launch) -> str:
    """`make_launch_record(launch).key`."""
    return make_launch_record(launch).key


def split_args(args: Sequence[str]) -> list[Argument]:
    """Flags with their values, in order. `--flag=value` is `--flag value`; `-1` is a value."""
    found: list[tuple[str, list[str]]] = []
    is_open = True  # whether what comes next can still be a value of the last flag
    for index, arg in enumerate(args):
        if arg == "--":
            return [*_freeze(found), ("--", tuple(args[index + 1 :]))]
        if arg.startswith("-") and arg != "-" and not _NEGATIVE.match(arg):
            name, equals, value = arg.partition("=") if arg.startswith("--") else (arg, "", "")
            found.append((name, [value] if equals else []))
            is_open = not equals
        elif found and is_open:
            found[-1][1].append(arg)
        else:
            found.append(("", [arg]))
            is_open = True
    return _freeze(found)


def normalise_args(args: Sequence[str]) -> list[Argument]:
    """Flags sorted by name; the order of values, and of repetitions of a flag, stays."""
    return sorted(split_args(args), key=lambda argument: (argument[0] == "--", argument[0]))


def get_sizes(launch: Launch) -> Sizes:
    """Parallel sizes as the engines' own flags say them; `tp` is the launch's.

    Flags of sglang 0.5 (srt/server_args.py, multimodal_gen), vllm 0.11 and warmup.engine.
    """
    values = dict(split_args((*launch.command, *launch.fallback_args)))  # the last one wins
    dp = _find_size(values, "--dp", "--dp-size", "--data-parallel-size", "-dp")
    ep = _find_size(values, "--ep", "--ep-size", "--expert-parallel-size")
    cfg = _find_size(values, "--cfg-parallel-size", "--cfg-size")
    if ep is None and "--enable-expert-parallel" in values:
        ep = launch.tp * (dp or 1)
    if cfg is None and "--enable-cfg-parallel" in values:
        cfg = 2
    return Sizes(launch.tp, dp or 1, ep or 1, cfg or 1)


def _freeze(arguments: list[tuple[str, list[str]]]) -> list[Argument]:
    return [(name, tuple(values)) for name, values in arguments]


def _normalise_command(command: Sequence[str]) -> list[list[Argument]]:
    """Runs of long flags with at most one value are sorted; all else keeps its place.

    A command may be an interpreter, a launcher and a server in one, where order means something:
    `python -O -m server` is not `python -m server -O`.
    """
    runs: list[list[Argument]] = []
    was_movable = False
    for argument in split_args(command):
        is_movable = argument[0].startswith("--") and argument[0] != "--" and len(argument[1]) < 2
        if is_movable and was_movable:
            runs[-1].append(argument)
        else:
            runs.append([argument])
        was_movable = is_movable
    return [sorted(run, key=lambda argument: argument[0]) for run in runs]


def _find_size(values: dict[str, tuple[str, ...]], *names: str) -> int | None:
    for name in names:
        said = values.get(name, ())
        if len(said) == 1 and said[0].isdecimal() and int(said[0]) > 0:
            return int(said[0])
    return None


def _find_config_digest(model: str) -> str | None:
    """sha256 over config.json, model_index.json and those of the parts of a pipeline.

    A local model can change under its name, and with it the shapes of all of its kernels; a hub
    id is held by its revision. None where there is no folder with such a file.
    """
    if not model.startswith("/"):
        return None
    digest, is_any = hashlib.sha256(), False
    for folder in (Path(model), *_list_folders(Path(model))):
        for name in _CONFIG_NAMES:
            content = _find_content(folder / name)
            if content is not None:
                is_any = True
                part = os.fsencode(os.path.relpath(folder / name, model))
                digest.update(b"%d %s %d " % (len(part), part, len(content)) + content)
    return digest.hexdigest()[:16] if is_any else None


def _list_folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


def _find_content(path: Path) -> bytes | None:
    """The first 16 MiB of a regular file. One that may not be read is the server's to report."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(_MAX_CONFIG_BYTES)
    except OSError:
        return None
