"""From argv to `ServerArgs`: command line > `--config` file > serve's default.

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
    found: dict[tuple[int, int], None] = {}
    for word in " ".join(words).replace(",", " ").split():
        match = _RESOLUTION.fullmatch(word)
        size = (int(match[1]), int(match[2])) if match else (0, 0)
        if 0 in size:
            raise UsageError(
                f"--warmup-resolutions: {word!r} is no resolution",
                hint="WIDTHxHEIGHT in pixels, both greater than 0: 512x512",
            )
        found[size] = None
    if not found:
        raise UsageError("--warmup-resolutions needs at least one WIDTHxHEIGHT")
    return list(found)


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
    add = parser.add_argument
    add("--config", metavar="FILE", help="settings as TOML or JSON; flags win over it")
    add(
        "--make-tiny",
        nargs=2,
        metavar=("FAMILY", "DIR"),
        help="write a tiny random checkpoint of FAMILY to DIR and exit",
    )
    add("--json", action="store_true", help="one JSON document on stdout when ready (or made)")
    _add_server_flags(parser.add_argument_group("server"))
    _add_model_flags(parser.add_argument_group("model"))
    _add_rank_flags(parser.add_argument_group("ranks"))
    _add_warmup_flags(parser.add_argument_group("warm-up and readiness"))
    return parser  # fmt: skip


def _add_server_flags(group: Any) -> None:
    add = group.add_argument
    add("--host", help="address to listen on (default 127.0.0.1)")
    add("--port", type=int, help="port to listen on, 0 for a free one (default 30000)")
    add("--served-model-name", help="name in /v1/models (default: the folder's)")
    add("--log-level", choices=("debug", "info", "warning", "error"))
    add(
        "--hold-timeout",
        type=float,
        metavar="SECONDS",
        help="how long a request is held before READY, then 503 (default 600)",
    )
    add(
        "--request-timeout",
        type=float,
        metavar="SECONDS",
        help="how long one request may take (default 3600)",
    )
    add("--max-batch", type=int, help="requests decoded together (vision-language; default 8)")
    add("--max-model-len", type=int, help="tokens of one request (vision-language; default 4096)")
    add("--allowed-media-root", metavar="DIR", help="folder whose files image_url may name")
    add("--allow-remote-media", action=argparse.BooleanOptionalAction,
        help="fetch http(s) image URLs (default: refused)")  # fmt: skip


def _add_model_flags(group: Any) -> None:
    add = group.add_argument
    add("--model", "--model-path", dest="model", metavar="DIR", help="local model folder")
    add(
        "--load-format",
        choices=("auto", "dummy"),
        help="dummy: random weights from config.json, on the device",
    )
    add("--device", choices=("auto", "cpu", "cuda"))
    add("--dtype", choices=("auto", "float32", "bfloat16"))
    add("--seed", type=int, help="of dummy weights (default 0)")
    add("--trust-remote-code", action=argparse.BooleanOptionalAction)
    add(
        "--torch-compile",
        action=argparse.BooleanOptionalAction,
        help="compile the transformer with Inductor",
    )
    add("--fp8", action=argparse.BooleanOptionalAction,
        help="DeepGEMM FP8 linears (SM90)")  # fmt: skip


def _add_rank_flags(group: Any) -> None:
    add = group.add_argument
    add("--num-gpus", type=int, help="rank processes of a diffusion model (default 1)")
    add("--tp", "--tp-size", dest="tp", type=int, help="tensor parallel ranks (vision-language)")
    add(
        "--enable-cfg-parallel",
        action=argparse.BooleanOptionalAction,
        help="run guidance's branches on different ranks",
    )
    add("--cfg-parallel-size", type=int, help="ranks of one such group (default 2)")
    add(
        "--cfg-off-policy",
        choices=("reject", "serve"),
        help="a request without guidance under CFG parallel: 400 (default), or serve it anyway",
    )
    add(
        "--dist-timeout",
        type=float,
        metavar="SECONDS",
        help="of every collective, gloo's too (default 600)",
    )
    add("--disagg-role", help="role in a disaggregated setup; disables server warm-up")  # fmt: skip


def _add_warmup_flags(group: Any) -> None:
    add = group.add_argument
    add(
        "--warmup",
        nargs="?",
        const=True,
        type=_parse_bool,
        metavar="true|false",
        help="false disables all warm-up",
    )
    add(
        "--warmup-mode",
        choices=("off", "request", "server"),
        help="server (default): before READY; request: a copy of the first request runs first",
    )
    add("--warmup-resolutions", nargs="+", metavar="WxH", help="shapes to warm; commas too")
    add("--warmup-steps", type=int, help="denoising steps (default: 2 in server mode, else 1)")
    add("--warmup-num-frames", type=int, help="frames of a video warm-up")
    add(
        "--warmup-sampling-params",
        type=_parse_object,
        metavar="JSON",
        help="sampling parameters of every warm-up request",
    )
    add(
        "--warmup-fail-policy",
        choices=("abort", "continue"),
        help="default: abort if resolutions were asked for, else continue",
    )
    add("--warmup-deadline", type=float, metavar="SECONDS", help="of the whole warm-up")
    add(
        "--readiness-compat",
        action=argparse.BooleanOptionalAction,
        help="/health is 200 while warming",
    )
    add("--input-save-path", metavar="DIR",
        help="folder of the warm-up image (default: a temporary one)")  # fmt: skip


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
        raise argparse.ArgumentTypeError(f"{word!r} is no JSON object")
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
        # The command line wins: a file's wish to warm is no contradiction to it.
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
        raise UsageError(f"--config {path} holds no table")
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
