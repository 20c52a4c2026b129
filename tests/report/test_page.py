"""The page: foreign text in it is text, it needs nothing but itself, and it stays small."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.report.helpers import make_result
from tests.report.homes import HOSTILE, make_results, read, record_run, write_run
from warmup.report.history import History
from warmup.report.markup import element, escape
from warmup.report.page import MAX_BYTES, make_page

_VOID = {"meta", "br", "link", "col", "hr"}


class Page(HTMLParser):
    """Elements with their attributes, and text by the element that it stands in."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.stack: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.stack == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"an attribute twice: {tag} {attrs}"
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.stack[-1] if self.stack else "", data))

    @property
    def text(self) -> str:
        return "".join(data for tag, data in self.texts if tag != "style")

    def list_attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.elements if name == tag]


# All that a page may hold. `href` is the skip link's, within the page.
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section"),
    *("details", "summary", "h1", "h2", "h3", "p", "a", "bdi", "code", "pre", "mark", "span"),
    *("div", "i", "ul", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td"),
    *("svg", "rect", "defs", "pattern"),
}


def check(page: Page) -> None:
    tags = {tag for tag, _ in page.elements}
    assert tags <= TAGS, tags - TAGS
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert not {"src", "style", "srcset", "action", "xlink:href"} & set(attributes)
        assert attributes.get("href", "#report") == "#report"


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_names_and_logs_stay_text(tmp_path: Path, hostile: str) -> None:
    record_run(tmp_path, "r1", make_results(hostile), [hostile, hostile])
    record_run(tmp_path, "r2", make_results(hostile), [hostile])
    page = Page(make_page(read(tmp_path)))
    check(page)
    assert escape(hostile) in make_page(read(tmp_path)), "it is there, as text"
    # A name adds no element of its own, wherever it stands.
    record_run(tmp_path / "calm", "r1", make_results("calm"), ["calm", "calm"])
    record_run(tmp_path / "calm", "r2", make_results("calm"), ["calm"])
    calm = Page(make_page(read(tmp_path / "calm")))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in calm.elements]
    invisible = set(page.text) & set("\u202e\u2066\x00\x1b\r")
    assert not invisible, "no reordering and no control character is left"


def test_a_whole_page_of_hostility(tmp_path: Path) -> None:
    record_run(tmp_path, "r1", make_results(*HOSTILE), HOSTILE)
    check(Page(make_page(read(tmp_path))))


def test_it_needs_nothing_from_anywhere(tmp_path: Path) -> None:
    record_run(tmp_path, "r1", make_results("org/a"), ["x"])
    text = make_page(read(tmp_path))
    assert "://" not in text
    assert "url(" not in text.replace("url(#hatch)", "")
    (policy,) = [each["content"] for each in Page(text).list_attributes("meta")
                 if each.get("http-equiv")]  # fmt: skip
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_who_cannot_see_it_can_read_it(tmp_path: Path) -> None:
    """Landmarks, one h1, headers of tables, words for each picture, and no colour alone."""
    for name in ("r1", "r2", "r3"):
        record_run(tmp_path, name, make_results("org/a", "org/b"), ["x"])
    page = Page(make_page(read(tmp_path)))
    tags = [tag for tag, _ in page.elements]
    for tag in ("header", "main", "footer", "h1"):
        assert tags.count(tag) == 1
    assert page.list_attributes("html") == [{"lang": "en"}]
    for attributes in page.list_attributes("svg"):
        is_told = attributes.get("role") == "img" and attributes.get("aria-label")
        assert is_told or attributes.get("aria-hidden") == "true"
    for attributes in page.list_attributes("th"):
        assert attributes.get("scope") in ("row", "col")
    ids = [found["id"] for _, found in page.elements if "id" in found]
    assert len(ids) == len(set(ids))
    assert "✕ failed" in page.text
    assert "✓ warmed" in page.text
    assert "✕ request 0.2 s until it failed" in page.text
    assert "prefers-color-scheme:dark" in page.texts[1][1] + page.texts[0][1] + "".join(
        data for tag, data in page.texts if tag == "style"
    )


def test_it_tells_what_a_user_looks_for(tmp_path: Path) -> None:
    for name in ("r1", "r2"):
        record_run(tmp_path, name, make_results("org/a"), ["loading", "RuntimeError: no device"])
    text = Page(make_page(read(tmp_path))).text
    for said in (
        "1 of 2 models is warm",
        "Why it was cold: why org/a:8",
        "▶ is the first line of trouble",
        "step of org/a:8",
        "kernel of org/a:8",
        "compiled: 2 family of org/a:8",
        "GPU-hours",
        "at 2.50 a GPU-hour",
        "+6",
        "Command: serve org/a",
        "2 runs, the newest on the right",
    ):
        assert said in text, said


def test_an_empty_home_and_a_run_without_an_end(tmp_path: Path) -> None:
    text = Page(make_page(History((), (), "/home/of/nobody"))).text
    assert "No run is recorded in /home/of/nobody." in text
    write_run(tmp_path, "r1", [("run_started", None, {"models": ["a:1"]})])
    page = Page(make_page(read(tmp_path)))
    check(page)
    assert "The run did not finish" in page.text
    assert "It has no end: it was killed, or it is still running." in page.text
    (tmp_path / "r2").mkdir()
    assert "its events cannot be read" in Page(make_page(read(tmp_path, "r2"))).text


def test_twenty_models_with_long_logs_fit(tmp_path: Path) -> None:
    results = [make_result(f"org/m{i}", state="failed", reason="<&\"'" * 400,
                           argv=("<&\"'" * 500,)) for i in range(20)]  # fmt: skip
    tail = ["<&\"'" * 300] * 200 + ["the end"]
    outcome = {"tp": 8, "state": "warmed", "seconds": 90.0}
    names = [result.name for result in results]
    for number in range(70):
        events = [("model_finished", name, outcome) for name in names]
        write_run(tmp_path, f"q{number:02}", events)
    record_run(tmp_path, "r1", results, tail)
    text = make_page(read(tmp_path))
    assert len(text.encode()) <= MAX_BYTES
    check(Page(text))
    assert text.count("▶ the end</") >= 15, "the end of a log is what is kept of it"


def test_a_thousand_models_fit_too(tmp_path: Path) -> None:
    record_run(tmp_path, "r1", [make_result(f"<{i}>" * 60, reason="<" * 900) for i in range(300)])
    text = make_page(read(tmp_path))
    assert len(text.encode()) <= MAX_BYTES
    assert re.search(r"… and \d+ models more", text)


def test_an_element_escapes_what_is_no_markup() -> None:
    made = element("p", "<&>", element("b", "x"), title='"<', class_="c", data_x=None)
    assert made == '<p title="&quot;&lt;" class="c">&lt;&amp;&gt;<b>x</b></p>'
