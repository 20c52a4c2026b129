"""From a launch's arguments and environment to the layout of its ranks.

Three kinds of argument: those modelled here, those that cannot change a product's shape, and all
others. One of the last makes the model fall back to its server, with the argument named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warmup.kernels.shapes.architecture import Kind, Layout, NotModelledError, divide
from warmup.launch.api import is_neutral, parse
from warmup.words.errors import UsageError

BOTH: tuple[Kind, ...] = ("CONTIG", "MASKED")


class LaunchArguments:
    """One launch's arguments, by canonical name (`launch/options.py`), the last one given winning.

    modelled: the names that a layout is made of. shapeless: further names, and prefixes that end
    in `*`, that change no weight's shape, no rank's part of it and not who multiplies by it.
    Raises NotModelledError naming the first argument that is neither.
    """

    def __init__(
        self,
        args: Sequence[str],
        engine: str,
        modelled: Sequence[str],
        shapeless: Sequence[str],
        who: str,
        env: Mapping[str, str],
    ) -> None:
        self.who, self.env = who, env
        self.values = {
            name: " ".join(values) for name, values in parse(args, engine).values.items()
        }
        prefixes = tuple(name[:-1] for name in shapeless if name.endswith("*"))
        for name in self.values:
            if name in modelled or name in shapeless or is_neutral(name, engine):
                continue
            if not name.startswith(prefixes):
                raise NotModelledError(f"{name} is not modelled: it might change the shapes")

    def get_size(self, name: str, default: int) -> int:
        text = self.values.get(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:8]) == int(text):
            raise UsageError(f"{self.who}: {name}: expected a whole number, found {text[:80]!r}")
        return int(text)

    def has(self, name: str) -> bool:
        return name in self.values

    def choose(self, name: str, default: str, known: Sequence[str]) -> str:
        """The argument's word. Raises NotModelledError for one that is not among `known`."""
        word = self.values.get(name, default)
        if word not in known:
            raise NotModelledError(f"{name} {word} is not modelled")
        return word

    def is_on(self, variable: str, default: bool) -> bool:
        """A boolean variable as sglang reads it (0.5.23, srt/environ.py, EnvBool)."""
        text = self.env.get(variable, "").lower()
        return default if not text else text in ("1", "true", "yes", "y")


def make_layout(
    arguments: LaunchArguments, *, tp: int, attention_dp: int, ep: int, **more: object
) -> Layout:
    """tp ranks; attention is copied attention_dp times, experts are dealt to ep of them.

    `more`: the fields of Layout that do not follow from these. Raises UsageError for sizes that
    do not divide.
    """
    who = arguments.who
    attention_tp = divide(tp, attention_dp, "tensor parallel size", who)
    experts_tp = divide(tp, ep, "tensor parallel size", who)
    fields = {"dense_tp": tp, "shared_tp": tp, **more}
    return Layout(
        tp=tp,
        attention_tp=attention_tp,
        experts_tp=experts_tp,
        ep=ep,
        **fields,  # type: ignore[arg-type]
    )
