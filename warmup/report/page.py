"""`report --html`: one page that needs nothing but itself.

No script, no network, works from `file://`; what it is made of is `History` alone, so the same
runs make the same page. Foreign text goes through `markup.element`, and a Content-Security-Policy
forbids what would be a script even so.
"""

from __future__ import annotations

from collections.abc import Iterator

from warmup.report.history import History
from warmup.report.markup import Markup, element, join
from warmup.report.page_models import make_details, make_growth, make_table
from warmup.report.page_parts import make_badge
from warmup.report.page_timeline import make_timeline
from warmup.report.page_trend import make_trend
from warmup.report.record import RunRecord
from warmup.report.style import STYLE
from warmup.report.text import clip, get_count, get_duration, get_hours, get_moment, get_money
from warmup.version import __version__

MAX_BYTES = 500_000
_MAX_MODELS = 100  # of a run, in each section
_DETAIL_BYTES = 260_000  # of all models together; the rest of the page is bounded by its counts
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def make_page(history: History) -> str:
    """The page, as text for a file in UTF-8; at most MAX_BYTES, whoever chose the names."""
    page = ""
    for share in (1, 2, 4, 8, 16):
        page = _make_page(history, _MAX_MODELS // share, _DETAIL_BYTES // share)
        if len(page.encode()) <= MAX_BYTES:
            break
    return page


def _make_page(history: History, max_models: int, detail_bytes: int) -> str:
    runs = list(reversed(history.runs))[:4]
    sections: list[Markup | None] = []
    for number, run in enumerate(runs):
        if number:
            sections.append(element("h2", join(["Run ", element("code", clip(run.run_id, 60))])))
        most = max_models // len(runs)
        sections += [_make_gaps(run), make_table(run, most), make_timeline(run, most)]
        sections += [make_growth(run), make_details(run, detail_bytes // len(runs))]
    if history.briefs:
        sections.append(make_trend(history.briefs, max_models // 2))
    if history.unread:
        told = [element("li", clip(text, 300)) for text in history.unread[:8]]
        head = element(
            "h2", f"{get_count(len(history.unread), 'run')} of which nothing can be read"
        )
        sections.append(element("section", head, element("ul", *told)))
    title = _get_verdict(history.newest) if history.newest else "No run yet"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=Markup(_POLICY)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"warmup-ci: {title}"),
        element("style", Markup(STYLE)),
    )
    body = element(
        "body",
        element("a", "Skip to the report", href="#report", class_="skip"),
        _make_header(history, title),
        element("main", *sections, id="report"),
        _make_footer(history),
    )
    return f'<!doctype html>\n<html lang="en">{join([head, body], chr(10))}</html>\n'


def _get_verdict(run: RunRecord) -> str:
    models = run.models.values()
    warm, total = sum(each.is_warm for each in models), len(models)
    if run.exit_code is None:
        return f"The run did not finish: {warm} of {get_count(total, 'model')} warm"
    seeded = sum(each.state == "seeded" for each in models)
    if seeded == total and total:
        return f"{get_count(total, 'model')} seeded for {clip(run.target, 40) or 'another machine'}"
    if warm == total and total:
        return "The model is warm" if total == 1 else f"All {total} models are warm"
    return f"{warm} of {get_count(total, 'model')} {'is' if warm == 1 else 'are'} warm"


def _make_header(history: History, title: str) -> Markup:
    run = history.newest
    eyebrow = element("p", "warmup-ci report", class_="eyebrow")
    if run is None:
        text = f"No run is recorded in {history.home or 'this home'}."
        hint = join(["Make one with ", element("code", "warmup-ci run"), ", then come back."])
        return element(
            "header",
            eyebrow,
            element("h1", title),
            element("p", text),
            element("p", hint, class_="soft"),
        )
    key = ["version key ", element("code", clip(run.version_key, 80))] if run.version_key else []
    said = join(
        [
            "Run ",
            element("code", clip(run.run_id, 60)),
            f" of {get_moment(run.begin)}, {get_duration(run.seconds)}",
            ", " if key else "",
            *key,
        ]
    )
    state = run.brief.verdict
    return element(
        "header",
        eyebrow,
        element("h1", title),
        element("p", make_badge(state), " ", said, class_="soft"),
        _make_tiles(history, run),
    )


def _make_tiles(history: History, run: RunRecord) -> Markup:
    tiles = [_make_tile("took", get_duration(run.seconds), run.ending)]
    num_new = sum(sum(each.new_entries.values()) for each in run.models.values())
    launched = sum(each.begin is not None for each in run.models.values())
    tiles.append(_make_tile("launched", get_count(launched, "server"), f"of {len(run.models)}"))
    tiles.append(_make_tile("new cache entries", f"{num_new:,}", "a warm run has none"))
    total = sum(brief.gpu_hours for brief in history.briefs)
    over = f"{get_hours(total)} in {get_count(len(history.briefs), 'run')}"
    tiles.append(_make_tile("GPU-hours (TP × time)", get_hours(run.gpu_hours), over))
    if run.price:
        cost = sum(brief.cost for brief in history.briefs)
        note = f"at {get_money(run.price)} a GPU-hour; {get_money(cost)} in all"
        tiles.append(_make_tile("cost", get_money(run.cost), note))
    if run.gpu_hours_saved:
        worth = (
            f"worth {get_money(run.gpu_hours_saved * run.price)}" if run.price else "by --target"
        )
        tiles.append(_make_tile("GPU-hours saved", get_hours(run.gpu_hours_saved), worth))
    return element("dl", *tiles, class_="tiles")


def _make_tile(name: str, value: str, note: str) -> Markup:
    inner = join([value, element("span", note, class_="note")])
    return element("div", element("dt", name), element("dd", inner))


def list_gaps(run: RunRecord) -> Iterator[str]:
    """What cannot be told of a run, and why."""
    if run.problem:
        yield run.problem
    if run.exit_code is None and run.begin:
        yield "It has no end: it was killed, or it is still running."
    if run.num_unread:
        yield f"{get_count(run.num_unread, 'line')} of its events could not be read."
    if run.unknown:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in run.unknown.most_common(8))
        yield f"Events of kinds that warmup-ci {__version__} does not know: {kinds}."


def _make_gaps(run: RunRecord) -> Markup | None:
    gaps = [element("li", text) for text in list_gaps(run)]
    gaps += [element("li", f"Warning: {clip(text, 300)}") for text in run.warnings[:8]]
    gaps += [element("li", clip(f"Before the run: {each}", 300)) for each in run.repairs[:8]]
    if not gaps:
        return None
    return element("section", element("h2", "What to know first"), element("ul", *gaps))


def _make_footer(history: History) -> Markup:
    older = f" {history.num_older} older runs were not read." if history.num_older else ""
    text = (
        f"Made by warmup-ci {__version__} from the runs' events alone. GPU-hours are the"
        f" tensor-parallel size (TP) times the time that a model took.{older}"
    )
    return element("footer", element("p", text))
