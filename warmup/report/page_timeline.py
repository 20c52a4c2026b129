"""Where the minutes went: a lane for each model, as inline SVG on the run's own axis.

The SVG holds no text, so that it may stretch: on a phone it is narrow and all words stay readable.
What it shows stands below it in words; colour alone says nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from warmup.report.events import PROOF_PREFIX
from warmup.report.markup import Markup, element, join
from warmup.report.page_parts import draw, make_more
from warmup.report.record import ModelRecord, RunRecord
from warmup.report.text import clip, get_count, get_duration

PHASES = ("kernels", "spawn", "ready", "request", "ladder", "stop", "memory")
_WIDTH = 1000.0  # of a lane, in its own units
_MIN_WIDTH = 2.0  # what is shorter would not be seen
_MAX_RECTS = 400  # of a lane: two at one place look like one


def make_timeline(run: RunRecord, max_models: int) -> Markup:
    """The section of one run; models that were not launched have no lane."""
    launched = [each for each in run.models.values() if each.spans or each.begin is not None]
    if not launched:
        body = element("p", "No server was launched, so there is nothing to draw.", class_="soft")
        return element("section", element("h2", "Where the time went"), body)
    lanes = [_make_lane(each, run) for each in launched[:max_models]]
    ends = element(
        "div",
        element("span", "0"),
        element("span", get_duration(run.seconds)),
        class_="ends",
        aria_hidden="true",
    )
    rest = make_more(len(launched) - len(lanes), "model")
    return element("section", element("h2", "Where the time went"), *lanes, ends, rest)


def get_phase(name: str) -> tuple[str, str]:
    """A phase's name for people, and the class that colours it."""
    base = name.removeprefix(PROOF_PREFIX)
    said = base if base == name else f"proof: {base}"
    return clip(said, 40), f"p-{base}" if base in PHASES else "p-other"


def _make_lane(model: ModelRecord, run: RunRecord) -> Markup:
    totals: dict[str, float] = {}
    failed = {span.name for span in model.spans if span.state == "failed"}
    open_ = {span.name for span in model.spans if span.state == "started"}
    for span in model.spans:
        totals[span.name] = totals.get(span.name, 0.0) + span.seconds
    keys = [
        _make_key(name, seconds, is_failed=name in failed, is_open=name in open_)
        for name, seconds in list(totals.items())[:16]
    ]
    if model.steps:
        text = f"asked {get_count(len(model.steps), 'time')}"
        keys.append(element("li", element("i", class_="p-step"), text))
    if model.num_compiled:
        families = (f"{n} {clip(name, 40)}" for name, n in model.num_compiled.most_common(8))
        text = f"compiled: {', '.join(families)}"
        keys.append(element("li", element("i", class_="p-tick"), text, class_="ticks"))
    told = ", ".join(
        f"{get_phase(name)[0]} {'failed after ' if name in failed else ''}{get_duration(seconds)}"
        for name, seconds in totals.items()
    )
    head = element(
        "h3",
        element("bdi", clip(model.name, 160)),
        element("span", get_duration(model.seconds), class_="soft"),
    )
    label = f"Phases of {clip(model.name, 160)}: {clip(told, 600) or 'none recorded'}"
    has_second = bool(model.compiled or model.steps)
    rects = _iter_rects(model, run.begin, _WIDTH / max(run.seconds, 1e-6))
    style, box = ("bar two", (_WIDTH, 16)) if has_second else ("bar", (_WIDTH, 10))
    picture = draw(rects, style, box, label)
    return element("div", head, picture, element("ul", *keys, class_="key"), class_="lane")


def _make_key(name: str, seconds: float, *, is_failed: bool, is_open: bool) -> Markup:
    said, style = get_phase(name)
    mark = "✕ " if is_failed else ""
    end = " until it failed" if is_failed else ", never ended" if is_open else ""
    text = f"{mark}{said} {get_duration(seconds)}{end}"
    return element("li", element("i", class_=style), text)


def _iter_rects(model: ModelRecord, begin: float, scale: float) -> Iterator[Markup]:
    for span in model.spans[:_MAX_RECTS]:
        said, style = get_phase(span.name)
        title = f"{said} {get_duration(span.seconds)}"
        if span.state == "failed":
            style, title = f"{style} failed", f"{title}, failed"
        yield _make_rect((span.begin - begin) * scale, span.seconds * scale, 0, 10, style, title)
    for step in model.steps[:_MAX_RECTS]:
        title = f"step {clip(step.name, 60)} {get_duration(step.seconds)}"
        yield _make_rect((step.begin - begin) * scale, step.seconds * scale, 11, 5, "p-step", title)
    places: dict[int, Counter[str]] = {}
    for kernel in model.compiled:
        places.setdefault(round((kernel.t - begin) * scale), Counter())[kernel.family] += 1
    for x, counts in list(places.items())[:_MAX_RECTS]:
        title = ", ".join(f"{n} {clip(family, 40)}" for family, n in counts.most_common(8))
        yield _make_rect(x, _MIN_WIDTH, 11, 5, "p-tick", f"compiled {title}")


def _make_rect(x: float, width: float, y: int, height: int, style: str, title: str) -> Markup:
    """Kept within the lane: a clock may have been set while the run went on."""
    x = min(max(x, 0.0), _WIDTH - _MIN_WIDTH)
    width = min(max(width, _MIN_WIDTH), _WIDTH - x)
    inner = join([element("title", title)]) if title else None
    return element("rect", inner, x=float(x), y=y, width=float(width), height=height, class_=style)
