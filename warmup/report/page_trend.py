"""How the home's runs went, one after the other: bars of the whole run, sparklines per model."""

from __future__ import annotations

from collections.abc import Sequence

from warmup.report.markup import Markup, element
from warmup.report.record import UNFINISHED, RunBrief
from warmup.report.text import clip, get_count, get_duration, get_hours, get_moment, get_money

MAX_BARS = 60  # the newest runs
_MAX_ROWS = 20  # of the table that says the same in words
_HEIGHT = 100.0
# A run's or a model's state → the sign beside its word, and the class that colours it.
STATES = {
    "warm": ("✓", "good"),
    "warmed": ("✓", "good"),
    "failed": ("✕", "bad"),
    "skipped": ("–", "meh"),
    "seeded": ("◌", "meh"),
    "cold": ("○", "meh"),
    UNFINISHED: ("…", "meh"),
}
_UNKNOWN = ("?", "meh")


def get_sign(state: str) -> tuple[str, str]:
    """Sign and class of a state, a later version's as well."""
    return STATES.get(state, _UNKNOWN)


def make_trend(briefs: Sequence[RunBrief], max_models: int) -> Markup:
    """The section over all runs of the home, newest last."""
    shown = briefs[-MAX_BARS:]
    head = element("h2", "Trend")
    if len(briefs) < 2:
        text = "One run is recorded here. A trend needs two."
        return element("section", head, element("p", text, class_="soft"))
    failed = sum(run.verdict == "failed" for run in shown)
    longest = max(run.seconds for run in shown)
    said = (
        f"{get_count(len(shown), 'run')}, the newest on the right; the longest took"
        f" {get_duration(longest)}; {failed} failed (hatched)."
    )
    ends = element(
        "div",
        element("span", get_moment(shown[0].begin)),
        element("span", get_moment(shown[-1].begin)),
        class_="ends",
    )
    return element(
        "section",
        head,
        element("p", said, class_="soft small"),
        _draw_runs(shown, longest, said),
        ends,
        _make_models(shown, max_models),
        _make_runs(briefs),
    )


def _draw_runs(runs: Sequence[RunBrief], longest: float, label: str) -> Markup:
    hatch = element(
        "pattern",
        element("rect", width=5, height=5, class_="p-bad"),
        element("rect", width=5, height=2, class_="p-gap"),
        id="hatch",
        width=5,
        height=5,
        patternUnits="userSpaceOnUse",
    )
    step = 1000.0 / len(runs)
    bars = [element("defs", hatch)]
    width = min(step * 0.8, 60.0)
    for number, run in enumerate(runs):
        height = max(run.seconds / max(longest, 1e-6) * (_HEIGHT - 4), 2.0)
        title = f"{run.run_id}: {run.verdict}, {get_duration(run.seconds)}"
        is_failed = run.verdict == "failed"
        bars.append(
            element(
                "rect",
                element("title", clip(title, 120)),
                x=number * step + (step - width) / 2,
                y=_HEIGHT - height,
                width=width,
                height=height,
                class_=None if is_failed else f"p-{get_sign(run.verdict)[1]}",
                fill="url(#hatch)" if is_failed else None,
            )
        )
    return element(
        "svg",
        *bars,
        class_="trend",
        role="img",
        aria_label=f"Seconds of each run: {label}",
        viewBox=f"0 0 1000 {_HEIGHT:.0f}",
        preserveAspectRatio="none",
    )


def _make_models(runs: Sequence[RunBrief], max_models: int) -> Markup:
    """Each model of the newest run: its states, newest last, and the seconds of its warm-ups."""
    rows = []
    for name in list(runs[-1].models)[:max_models]:
        found = [run.models[name] for run in runs if name in run.models]
        signs = "".join(get_sign(state)[0] for state, _ in found[-20:])
        seconds = [seconds for state, seconds in found if state in ("warmed", "seeded")]
        last = get_duration(seconds[-1]) if seconds else "never warmed"
        rows.append(
            element(
                "tr",
                element("th", element("bdi", clip(name, 160)), scope="row", role="rowheader"),
                element("td", signs, class_="signs", role="cell", data_label="runs"),
                element("td", _draw_spark(seconds, name), role="cell", data_label="warm-ups"),
                element("td", last, class_="num", role="cell", data_label="last warm-up"),
            )
        )
    head = _make_head(
        ("model", ""),
        ("its runs, the newest last", ""),
        ("seconds of its warm-ups", ""),
        ("last warm-up", "num"),
    )
    return element(
        "table",
        head,
        element("tbody", *rows),
        class_="cards",
        role="table",
        aria_label="Trend of each model",
    )


def _draw_spark(seconds: Sequence[float], name: str) -> Markup | None:
    if len(seconds) < 2:
        return None
    top = max(*seconds, 1e-6)
    step = 100.0 / len(seconds)
    bars = [
        element(
            "rect",
            x=number * step,
            y=30 - max(each / top * 28, 1.0),
            width=step * 0.8,
            height=max(each / top * 28, 1.0),
            class_="p-ready",
        )
        for number, each in enumerate(seconds)
    ]
    told = ", ".join(get_duration(each) for each in seconds[-8:])
    label = f"Seconds of the warm-ups of {clip(name, 160)}, newest last: {told}"
    return element(
        "svg",
        *bars,
        class_="spark",
        role="img",
        aria_label=label,
        viewBox="0 0 100 30",
        preserveAspectRatio="none",
    )


def _make_runs(briefs: Sequence[RunBrief]) -> Markup:
    """The runs in words, newest first."""
    has_cost = any(run.cost for run in briefs)
    rows = []
    for run in reversed(briefs[-_MAX_ROWS:]):
        sign, style = get_sign(run.verdict)
        state = element("span", f"{sign} {run.verdict}", class_=f"state {style}")
        cells = [
            element("th", element("code", clip(run.run_id, 60)), scope="row", role="rowheader"),
            element("td", state, role="cell", data_label="verdict"),
            element("td", get_moment(run.begin), role="cell", data_label="began"),
            element("td", get_duration(run.seconds), class_="num", role="cell", data_label="took"),
            element(
                "td", get_hours(run.gpu_hours), class_="num", role="cell", data_label="GPU-hours"
            ),
        ]
        if has_cost:
            cost = get_money(run.cost)
            cells.append(element("td", cost, class_="num", role="cell", data_label="cost"))
        rows.append(element("tr", *cells, role="row"))
    names = [("run", ""), ("verdict", ""), ("began", ""), ("took", "num"), ("GPU-hours", "num")]
    head = _make_head(*names, *([("cost", "num")] if has_cost else []))
    table = element(
        "table", head, element("tbody", *rows), class_="cards", role="table", aria_label="Runs"
    )
    more = len(briefs) - len(rows)
    rest = element("p", f"… and {get_count(more, 'older run')}", class_="soft") if more else None
    return element("details", element("summary", "These runs in words"), table, rest)


def _make_head(*columns: tuple[str, str]) -> Markup:
    cells = [
        element("th", name, scope="col", role="columnheader", class_=style or None)
        for name, style in columns
    ]
    return element("thead", element("tr", *cells, role="row"))
