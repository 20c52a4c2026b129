"""How the home's runs went, one after the other: bars of the whole run, sparklines per model."""

from __future__ import annotations

from collections.abc import Sequence

from warmup.report.markup import Markup, element
from warmup.report.page_parts import draw, get_sign, make_badge, make_cards, make_more
from warmup.report.record import RunBrief
from warmup.report.text import clip, get_count, get_duration, get_hours, get_moment, get_money

MAX_BARS = 60  # the newest runs
_MAX_ROWS = 20  # of the table that says the same in words
_HEIGHT = 100.0
# A run's or a model's state → the sign beside its word, and the class that colours it.


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
    return draw(bars, "trend", (1000, _HEIGHT), f"Seconds of each run: {label}")


def _make_models(runs: Sequence[RunBrief], max_models: int) -> Markup:
    """Each model of the newest run: its states, newest last, and the seconds of its warm-ups."""
    rows = []
    for name in list(runs[-1].models)[:max_models]:
        found = [run.models[name] for run in runs if name in run.models]
        signs = "".join(get_sign(state)[0] for state, _ in found[-20:])
        seconds = [seconds for state, seconds in found if state in ("warmed", "seeded")]
        last = get_duration(seconds[-1]) if seconds else "never warmed"
        rows.append((element("bdi", clip(name, 160)), signs, _draw_spark(seconds, name), last))
    columns = (
        ("model", ""),
        ("its runs, the newest last", "signs"),
        ("seconds of its warm-ups", ""),
        ("last warm-up", "num"),
    )
    return make_cards("Trend of each model", columns, rows)


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
    return draw(bars, "spark", (100, 30), label)


def _make_runs(briefs: Sequence[RunBrief]) -> Markup:
    """The runs in words, newest first."""
    has_cost = any(run.cost for run in briefs)
    columns = [("run", ""), ("verdict", ""), ("began", ""), ("took", "num"), ("GPU-hours", "num")]
    columns += [("cost", "num")] if has_cost else []
    rows = [
        (
            element("code", clip(run.run_id, 60)),
            make_badge(run.verdict),
            get_moment(run.begin),
            get_duration(run.seconds),
            get_hours(run.gpu_hours),
            *([get_money(run.cost)] if has_cost else []),
        )
        for run in reversed(briefs[-_MAX_ROWS:])
    ]
    summary = element("summary", "These runs in words")
    table = make_cards("Runs", columns, rows)
    return element("details", summary, table, make_more(len(briefs) - len(rows), "older run"))
