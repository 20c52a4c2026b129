"""The models of one run: the table, what grew, and each in detail with its log's tail."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable

from warmup.report.markup import Markup, element, escape, join
from warmup.report.page_parts import draw, make_badge, make_cards, make_more
from warmup.report.record import ModelRecord, RunRecord
from warmup.report.summary import HEAD, get_cells
from warmup.report.text import clip, get_count, get_duration, get_entries, get_missed

_MAX_NAME = 160
_MAX_REASON = 600
_STYLES = ("", "badge", "num", "num", "", "")  # of the cells under HEAD
_MAX_ROWS = 40  # of a table of steps or kernels


def make_table(run: RunRecord, max_models: int) -> Markup:
    """One row per model: the table of the job's summary."""
    models = list(run.models.values())
    rows = []
    for model in models[:max_models]:
        name, _, seconds, hours, entries, reason = get_cells(model)
        badge = make_badge(model.state, ", proven" if model.proven else "")
        entries, reason = clip(entries, 300), clip(reason, _MAX_REASON)
        rows.append((element("bdi", clip(name, _MAX_NAME)), badge, seconds, hours, entries, reason))
    table = make_cards("Models", tuple(zip(HEAD, _STYLES, strict=True)), rows)
    body = table if rows else element("p", "The run names no model.", class_="soft")
    rest = make_more(len(models) - len(rows), "model")
    return element("section", element("h2", "Models"), body, rest)


def make_growth(run: RunRecord) -> Markup | None:
    """What each cache family gained, as bars and numbers; None where nothing grew."""
    gained: Counter[str] = Counter()
    for model in run.models.values():
        gained.update({name: count for name, count in model.new_entries.items() if count > 0})
    if not gained:
        return None
    most = max(gained.values())
    rows: list[Markup] = []
    for family, count in gained.most_common(20):
        bar = element("rect", width=max(count / most * 1000.0, 4.0), height=10, class_="p-request")
        svg = draw([bar], "bar", (1000, 10))
        rows += [
            element("dt", clip(family, 60)),
            element("dd", svg),
            element("dd", f"+{count}", class_="num"),
        ]
    head = element("h2", "What grew")
    said = element("p", "New entries of each JIT cache, all models together.", class_="soft small")
    return element("section", head, said, element("dl", *rows, class_="growth"))


def make_details(run: RunRecord, budget: int) -> Markup | None:
    """Every model that was launched, the ones in trouble open. budget: bytes for all of it."""
    models = [each for each in run.models.values() if each.begin is not None or each.is_trouble]
    if not models:
        return None
    models.sort(key=lambda model: not model.is_trouble)
    share = max(budget // len(models), 500)
    made: list[Markup] = []
    for model in models:
        text = _make_detail(model, share)
        budget -= len(text.encode())
        if budget < 0:
            left = get_count(len(models) - len(made), "model")
            made.append(element("p", f"… and {left} more, in the run's folder", class_="soft"))
            break
        made.append(text)
    return element("section", element("h2", "In detail"), *made)


def _make_detail(model: ModelRecord, budget: int) -> Markup:
    facts: list[Markup] = []
    if model.is_trouble:
        facts.append(element("p", clip(model.reason, _MAX_REASON), class_="trouble"))
    if model.was_cold_for:
        facts.append(element("p", join(["Why it was cold: ", clip(model.was_cold_for, 600)])))
    if model.argv:
        command = element("code", clip(shlex.join(model.argv), 1500))
        facts.append(element("p", join(["Command: ", command])))
    if model.outcome and model.outcome.target:
        missed = clip(get_missed(model.outcome.seed_missed), 600)
        told = f"Its seed is for {clip(model.outcome.target, 60)}{missed and ': '}{missed}"
        facts.append(element("p", told))
    survivors = model.outcome.survivors if model.outcome else []
    facts += [
        element("p", f"Not ended: {clip(text, 200)}", class_="trouble") for text in survivors[:8]
    ]
    facts += [
        element("p", f"Warning: {clip(text, 300)}", class_="small") for text in model.warnings[:8]
    ]
    facts += _make_steps(model) + _make_kernels(model)
    used = sum(len(each.encode()) for each in facts)
    if model.tail is not None and model.tail.lines:
        facts += _make_tail(model, max(budget - used - 600, 500))
    head = element("summary", element("bdi", clip(model.name, _MAX_NAME)), make_badge(model.state))
    return element("details", head, *facts, open="open" if model.is_trouble else None)


def _make_steps(model: ModelRecord) -> list[Markup]:
    if not model.steps:
        return []
    rows = [
        (
            clip(step.name, 80),
            step.state.replace("_", " "),
            get_duration(step.seconds),
            clip(get_entries(step.new_entries), 300),
        )
        for step in model.steps[:_MAX_ROWS]
    ]
    head = ("request", "state", "seconds", "new entries")
    return [element("h3", "What it was asked"), _make_plain(head, rows)]


def _make_kernels(model: ModelRecord) -> list[Markup]:
    if not model.num_compiled:
        return []
    names: dict[str, list[str]] = {}
    for each in model.compiled:
        names.setdefault(each.family, []).append(clip(each.kernel, 60))
    rows = [
        (
            clip(family, 40),
            str(count),
            ", ".join(found := names.get(family, [])[:4]) + (", …" if count > len(found) else ""),
        )
        for family, count in model.num_compiled.most_common(_MAX_ROWS)
    ]
    total = get_count(sum(model.num_compiled.values()), "kernel")
    head = element("h3", f"{total} compiled")
    return [head, _make_plain(("family", "kernels", "such as"), rows)]


def _make_plain(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Markup:
    names = element("tr", *(element("th", name, scope="col") for name in head))
    body = [element("tr", *(element("td", cell) for cell in row)) for row in rows]
    table = element("table", element("thead", names), element("tbody", *body))
    return element("div", table, class_="wide")


def _make_tail(model: ModelRecord, budget: int) -> list[Markup]:
    """The log from its end, as far as it fits, with the first line of trouble marked in it; one
    that lies above stands by itself."""
    tail, facts = model.tail, []
    assert tail is not None
    trouble = model.trouble if model.is_trouble else None
    lines: list[Markup] = []
    for number in range(len(tail.lines) - 1, -1, -1):
        line = escape(clip(tail.lines[number], 1000))
        if trouble is not None and number == tail.trouble:
            line = element("mark", join(["▶ ", line]))
        budget -= len(line.encode()) + 1
        if budget < 0:
            break
        lines.append(line)
    is_cut = tail.cut or len(lines) < len(tail.lines)
    extent = ("last " if is_cut else "") + get_count(len(lines), "line")
    if trouble is not None and tail.trouble is not None:
        if tail.trouble >= len(tail.lines) - len(lines):
            extent += ", ▶ is the first line of trouble"
        else:
            said = element("p", "First line of trouble in its log:", class_="soft small")
            facts += [said, element("p", element("code", clip(trouble, 400)), class_="trouble")]
    name = clip(tail.path.rpartition("/")[2], 120)
    head = join(["Log ", element("code", name), f", {extent}:"])
    text = element(
        "pre",
        join(lines[::-1], "\n"),
        tabindex=0,
        role="region",
        aria_label=f"Log of {clip(model.name, _MAX_NAME)}",
    )
    return [*facts, element("p", head, class_="soft small"), text]
