"""Server arguments as options: what is said, whatever the spelling and the order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# Spellings of one option: sglang 0.5.23 srt/server_args.py and vLLM 0.11 engine/arg_utils.py.
_ALIASES = {
    "--tp": "--tp-size",
    "--tensor-parallel-size": "--tp-size",
    "-tp": "--tp-size",
    "--dp": "--dp-size",
    "--data-parallel-size": "--dp-size",
    "-dp": "--dp-size",
    "--ep": "--ep-size",
    "--expert-parallel-size": "--ep-size",
    "--pp": "--pp-size",
    "--pipeline-parallel-size": "--pp-size",
    "-pp": "--pp-size",
    "--model": "--model-path",
}


def get_options(args: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Option → its values, as argparse reads them: `--dp 8` and `--dp=8` alike, the last one wins.

    Values before any option stand under "".
    """
    options: dict[str, tuple[str, ...]] = {}
    name = ""
    for arg in args:
        if _is_option(arg):
            name, equals, value = arg.partition("=")
            name = _ALIASES.get(name, name)
            options[name] = (value,) if equals else ()
        else:
            options[name] = (*options.get(name, ()), arg)
    return options


def find_option(args: Sequence[str], name: str) -> str | None:
    """The value of an option that takes one, by its first spelling; "" where it has none."""
    values = get_options(args).get(name)
    return None if values is None else " ".join(values)


def render(name: str, values: tuple[str, ...]) -> str:
    """An option as a person would write it: `--dp-size 8`."""
    return " ".join([name, *values] if name else values)


def _is_option(arg: str) -> bool:
    """`--name`, `-n`; not `-1`, not `-`."""
    return arg.startswith("-") and len(arg) > 1 and not (arg[1].isdigit() or arg[1] == ".")
