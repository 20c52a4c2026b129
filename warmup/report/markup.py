"""HTML, SVG and XML as text in which foreign text cannot become markup.

`Markup` is text that is markup already; every other string is escaped where it is put in, and its
control, bidirectional and other invisible characters are written as escapes, so that a name can
neither end its element nor reorder the line around it.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

from warmup.words.escape import get_printable

# https://html.spec.whatwg.org/multipage/syntax.html#void-elements
_VOID = frozenset({"br", "col", "hr", "link", "meta"})


class Markup(str):
    """Text that is put in as it is."""


Child = str | None


def escape(text: str) -> Markup:
    """Foreign text, harmless in an element and in a quoted attribute, in HTML and in XML."""
    return Markup(html.escape(get_printable(text)))


def element(tag: str, *children: Child, **attributes: str | float | None) -> Markup:
    """One element. An attribute that is None is left out; `class_` is `class`, `_` is `-`."""
    return make_element(tag, children, attributes)


def make_element(
    tag: str, children: Iterable[Child], attributes: dict[str, str | float | None]
) -> Markup:
    """The same, for attributes whose names Python would not take."""
    said = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_get_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{said}>")
    return Markup(f"<{tag}{said}>{join(children)}</{tag}>")


def join(children: Iterable[Child], between: str = "") -> Markup:
    """Several pieces, foreign text among them escaped."""
    return Markup(
        between.join(
            each if isinstance(each, Markup) else escape(each)
            for each in children
            if each is not None
        )
    )


def _get_value(value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return value if isinstance(value, Markup) else escape(str(value))
