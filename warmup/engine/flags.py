"""From argv to `ServerArgs`: command line > `--config` file > serve's default.

The flags are read off the struct's fields: name, type, default and help text stand there once.
Imports nothing heavy: `--help` and usage errors answer in the time of a bare interpreter.
"""

from __future__ import annotations

import argparse
import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from warmup.engine.args import ServerArgs
from warmup.words.errors import UsageError

_RESOLUTION = re.compile(r"([0-9]+)[xX]([0-9]+)")
_WARMUP_SETTINGS = ("warmup_mode", "warmup_resolutions")


def parse_resolutions(words: list[str]) -> list[tuple[int, int]]:
    """`["512x512", "1024x1024,64x64"]` → [(width, height)], in pixels, order kept, doubles dropped.

    Raises `UsageError` for anything else: a default in its place would warm the wrong shape.
    """
    sizes: dict[tuple[int, int], None] = {}
    for word in " ".join(words).replace(",", " ").split():
        match = _RESOLUTION.fullmatch(word)
        size = (int(match[1]), int(match[2])) if match else (0, 0)
        if 0 in size:
            raise UsageError(
                f"--warmup-resolutions: {word!r} is not a resolution",
                hint="WIDTHxHEIGHT in pixels, both greater than 0: 512x512",
            )
        sizes[size] = None
    if not sizes:
        raise UsageError("--warmup-resolutions needs at least one WIDTHxHEIGHT")
    return list(sizes)


class _Parser(argparse.ArgumentParser):
    """Raises instead of exiting, so that one place renders errors."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint="warmup-ci serve --help")


def make_parser() -> argparse.ArgumentParser:
    """A parser that answers only what was given: absent flags are absent attributes."""
    parser = _Parser(
        prog="warmup-ci serve",
        description="The reference engine: serve a diffusion or vision-language model that warms"
        " itself before it says it is ready.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--config", metavar="FILE", help="settings as TOML or JSON; flags win")
    parser.add_argument(
        "--make-tiny",
        nargs=2,
        metavar=("FAMILY", "DIR"),
        help="write a tiny random checkpoint of FAMILY to DIR and exit",
    )
    groups: dict[str, Any] = {}
    for field in msgspec.inspect.type_info(ServerArgs).fields:  # type: ignore[attr-defined]
        meta = field.type
        assert isinstance(meta, msgspec.inspect.Metadata) and meta.extra is not None
        title = meta.extra["group"]
        group = groups.get(title) or groups.setdefault(title, parser.add_argument_group(title))
        names = meta.extra.get("names", (f"--{field.name.replace('_', '-')}",))
        text = (meta.extra_json_schema or {}).get("description")
        if field.default and field.default is not msgspec.NODEFAULT:
            value = f"{field.default:g}" if isinstance(field.default, float) else field.default
            text = f"{text} (default {value})" if text else f"default {value}"
        settings = _get_settings(meta.type)
        if "metavar" in meta.extra:
            settings["metavar"] = meta.extra["metavar"]
        group.add_argument(*names, dest=field.name, help=text, **settings)
    return parser


def _get_settings(kind: msgspec.inspect.Type) -> dict[str, Any]:
    """What argparse is to do with a value of this type. None stands for `not given`."""
    info = msgspec.inspect
    if isinstance(kind, info.UnionType):
        (kind,) = (each for each in kind.types if not isinstance(each, info.NoneType))
        if isinstance(kind, info.BoolType):
            return {"nargs": "?", "const": True, "type": _parse_bool}
    if isinstance(kind, info.BoolType):
        return {"action": argparse.BooleanOptionalAction}
    if isinstance(kind, info.LiteralType):
        return {"choices": kind.values}
    if isinstance(kind, info.FloatType):
        return {"type": float, "metavar": "SECONDS"}
    if isinstance(kind, info.DictType):
        return {"type": _parse_object}
    if isinstance(kind, info.VarTupleType):
        return {"nargs": "+"}
    return {"type": int} if isinstance(kind, info.IntType) else {}


def _parse_bool(word: str) -> bool:
    words = {"true": True, "1": True, "false": False, "0": False}
    if word.lower() not in words:
        raise argparse.ArgumentTypeError(f"{word!r} is neither true nor false")
    return words[word.lower()]


def _parse_object(word: str) -> dict[str, Any]:
    try:
        value = json.loads(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{word!r} is not a JSON object")
    return value


def parse(argv: list[str]) -> tuple[ServerArgs, tuple[str, str] | None]:
    """The settings and, if asked for, (family, folder) of `--make-tiny`.

    Raises `UsageError` for unknown flags and keys, wrong types and contradictions; `SystemExit`
    for `--help`.
    """
    given = vars(make_parser().parse_args(argv))
    tiny = given.pop("make_tiny", None)
    config = given.pop("config", None)
    settings = _read_config(Path(config)) if config is not None else {}
    if given.get("warmup") is False or given.get("warmup_mode") == "off":
        # The command line wins: a file's wish to warm does not contradict it.
        for key in (*_WARMUP_SETTINGS, "warmup"):
            settings.pop(key, None)
    settings.update(given)
    if "warmup_resolutions" in settings:
        words = settings["warmup_resolutions"]
        settings["warmup_resolutions"] = parse_resolutions(_get_words(words))
    try:
        args = msgspec.convert(settings, ServerArgs)
    except msgspec.ValidationError as error:
        raise UsageError(f"settings: {error}", hint="warmup-ci serve --help") from None
    args.check()
    if tiny is None and not args.model:
        raise UsageError("--model is missing", hint="warmup-ci serve --model DIR")
    return args, tuple(tiny) if tiny is not None else None


def _get_words(value: object) -> list[str]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UsageError(f"warmup_resolutions: expected WxH or a list of them, not {value!r}")
    return words


def _read_config(path: Path) -> dict[str, Any]:
    """Keys as flags, with `-` or `_`. JSON if the name ends in .json, else TOML."""
    try:
        text = path.read_text(encoding="utf-8")
        loaded = json.loads(text) if path.suffix == ".json" else _read_toml(text)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read --config {path}", cause=str(error)) from None
    if not isinstance(loaded, dict):
        raise UsageError(f"--config {path} does not hold a table")
    known = set(ServerArgs.__struct_fields__)
    settings = {str(key).replace("-", "_"): value for key, value in loaded.items()}
    for key in settings:
        if key not in known:
            raise UsageError(f"--config {path}: unknown key {key!r}")
    return settings


def _read_toml(text: str) -> dict[str, Any]:
    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    loaded: dict[str, Any] = importlib.import_module(name).loads(text)
    return loaded
