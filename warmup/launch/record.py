"""The launch record and its key: what of a launch decides which kernels its server compiles.

In: engine, model with its revision and local configuration, sizes, server arguments, command,
environment of the launch, `weights`, `trust_remote_code`. Out: time limits, crash patterns,
`prove`, the requests and the ladder (a marker says which one was climbed), where caches lie, and
secrets. Placeholders stay as written, so that ports
do not matter.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import msgspec

from warmup.launch.arguments import Arguments, Option, parse
from warmup.launch.folder import CONFIG_NAMES, find_content
from warmup.words import encoding
from warmup.words.locations import is_location
from warmup.words.secrets import Redactor, is_secret_name


class Sizes(msgspec.Struct, frozen=True):
    """Sizes of the tensor, data, expert and classifier-free-guidance parallel groups."""

    tp: int
    dp: int = 1
    ep: int = 1
    cfg: int = 1


class LaunchRecord(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """What a launch key hashes, as written, so that two launches can be told apart by people.

    config: digest of the configuration files in a local folder, or in the snapshot that an engine
    is given for a hub id; None for an id that the engine looks up itself.
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

    @cached_property
    def key(self) -> str:
        """16 hex digits. The order of independent flags does not matter."""
        data = msgspec.to_builtins(self)
        data["command"] = _normalise_command(self.command)
        data["fallback_args"] = normalise_args(self.fallback_args)
        return hashlib.sha256(encoding.encode(data)).hexdigest()[:16]

    @property
    def sizes(self) -> Sizes:
        """Parallel sizes as the engines' own flags say them; `tp` is the launch's.

        Flags of sglang 0.5 (srt/server_args.py, multimodal_gen), vllm 0.33 and warmup.engine.
        """
        said = parse((*self.command, *self.fallback_args), self.engine)
        dp = _find_size(said, "--dp", "--dp-size", "--data-parallel-size", "-dp")
        ep = _find_size(said, "--ep", "--ep-size", "--expert-parallel-size")
        cfg = _find_size(said, "--cfg-parallel-size", "--cfg-size")
        if ep is None and "--enable-expert-parallel" in said.values:
            ep = self.tp * (dp or 1)
        if cfg is None and "--enable-cfg-parallel" in said.values:
            cfg = 2
        return Sizes(self.tp, dp or 1, ep or 1, cfg or 1)


def make_record(
    *,
    engine: str,
    model: str,
    tp: int,
    revision: str | None,
    weights: str,
    trust_remote_code: bool,
    command: Sequence[str],
    fallback_args: Sequence[str],
    env: Mapping[str, str],
    files: Path | None = None,
) -> LaunchRecord:
    """The fields of a launch that its key hashes. files: whose configuration is read, if any."""
    # By name and shape, and by the launch's own values: the key must be that of any environment.
    redactor = Redactor.from_environment(env, argvs=(command, fallback_args))
    written = {
        name: value
        for name, value in sorted(env.items())
        if not is_location(name) and not is_secret_name(name)
    }
    return LaunchRecord(
        engine=engine,
        model=encoding.clean(model),
        tp=tp,
        revision=revision,
        config=None if files is None else _find_config_digest(files),
        weights=weights,
        trust_remote_code=trust_remote_code,
        command=redactor.redact_argv(encoding.clean(command)),
        fallback_args=redactor.redact_argv(encoding.clean(fallback_args)),
        env=redactor.redact_env(encoding.clean(written)),
    )


def normalise_args(args: Sequence[str]) -> list[Option]:
    """Flags sorted by name; the order of values, and of repetitions of a flag, stays."""
    return sorted(_split(args), key=lambda option: (option.name == "--", option.name))


def _split(args: Sequence[str]) -> tuple[Option, ...]:
    """As written, whoever reads them: two spellings of one flag have keys of their own."""
    return parse(args, "").options


def _normalise_command(command: Sequence[str]) -> list[list[Option]]:
    """Runs of long flags with at most one value are sorted; all else keeps its place.

    A command may be an interpreter, a launcher and a server in one, where order means something:
    `python -O -m server` is not `python -m server -O`.
    """
    runs: list[list[Option]] = []
    was_movable = False
    for option in _split(command):
        is_long = option.name.startswith("--") and option.name != "--"
        is_movable = is_long and len(option.values) < 2
        if is_movable and was_movable:
            runs[-1].append(option)
        else:
            runs.append([option])
        was_movable = is_movable
    return [sorted(run, key=lambda option: option.name) for run in runs]


def _find_size(said: Arguments, *names: str) -> int | None:
    size = said.find(*names) or ""
    return int(size) if size.isdecimal() and int(size) > 0 else None


def _find_config_digest(model: Path) -> str | None:
    """sha256 over config.json, model_index.json and those of the parts of a pipeline.

    A model can change under its name, and with it the shapes of all of its kernels. None where
    there is no folder with such a file.
    """
    digest, is_any = hashlib.sha256(), False
    try:
        parts = sorted(path for path in model.iterdir() if path.is_dir())
    except OSError:
        parts = []
    for folder in (model, *parts):
        for name in CONFIG_NAMES:
            content = find_content(folder / name)
            if content is not None:
                is_any = True
                name_in = os.fsencode(os.path.relpath(folder / name, model))
                digest.update(b"%d %s %d " % (len(name_in), name_in, len(content)) + content)
    return digest.hexdigest()[:16] if is_any else None
