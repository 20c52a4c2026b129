"""What the page's sections are made of: badges, tables that a phone shows as cards, pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from warmup.report.markup import Child, Markup, element
from warmup.report.record import UNFINISHED
from warmup.report.text import clip, get_count

STATES = {
    "warm": ("✓", "good"),
    "warmed": ("✓", "good"),
    "failed": ("✕", "bad"),
    "skipped": ("–", "meh"),
    "seeded": ("◌", "meh"),
    "cold": ("○", "meh"),
    UNFINISHED: ("…", "meh"),
}


def get_sign(state: str) -> tuple[str, str]:
    """Sign and class of a state, a later version's as well."""
    return STATES.get(state, ("?", "meh"))


def make_badge(state: str, more: str = "") -> Markup:
    sign, style = get_sign(state)
    return element("span", f"{sign} {clip(state, 40)}{more}", class_=f"state {style}")


def make_cards(
    label: str, columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Child]]
) -> Markup:
    """A table with a name. columns: heads, each with the class of its cells (`badge`: what needs no
    head on a phone). rows: a cell a column; the first is the row's own head."""
    heads = (
        element("th", name, scope="col", role="columnheader", class_=style or None)
        for name, style in columns
    )
    body = []
    for first, *rest in rows:
        cells = [element("th", first, scope="row", role="rowheader")]
        for (name, style), cell in zip(columns[1:], rest, strict=True):
            said = None if style == "badge" else name
            cells.append(element("td", cell, role="cell", class_=style or None, data_label=said))
        body.append(element("tr", *cells, role="row"))
    head = element("thead", element("tr", *heads, role="row"))
    return element(
        "table", head, element("tbody", *body), class_="cards", role="table", aria_label=label
    )


def make_more(number: int, noun: str) -> Markup | None:
    """How many were left out; None for none."""
    if not number:
        return None
    return element("p", f"… and {get_count(number, noun)} more", class_="soft")


def draw(shapes: Iterable[Child], style: str, box: tuple[float, float], label: str = "") -> Markup:
    """An SVG that stretches to its place, so it holds no text. box: width and height, in its own
    units. label: what it shows, in words; "" where these stand beside it."""
    said: dict[str, str] = (
        {"role": "img", "aria_label": label} if label else {"aria_hidden": "true"}
    )
    view = f"0 0 {box[0]:.0f} {box[1]:.0f}"
    return element("svg", *shapes, class_=style, **said, viewBox=view, preserveAspectRatio="none")
