"""The page in a real browser: nothing is fetched, nothing complains, and everybody can read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.report.browser import Browser, View, find_chromium
from tests.report.helpers import make_result
from tests.report.homes import HOSTILE, make_results, read, record_run
from warmup.report.page import make_page

pytestmark = pytest.mark.slow
CHECKS = Path(__file__).with_name("page_checks.js").read_text()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("not installed: chromium (Debian's package)")
    browser = Browser(program, tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with everything that a page can have."""
    folder = tmp_path_factory.mktemp("page")
    tail = [f"line {number} " + "and more of it " * 20 for number in range(60)]
    record_run(folder / "runs", "r1", [make_result("org/a", state="warm")])
    record_run(folder / "runs", "r2", [make_result("org/a", tp=8, state="seeded", target="h200x8")])
    record_run(folder / "runs", "r3", make_results("org/a", "a-name-" * 12), tail)
    record_run(folder / "runs", "r4", make_results("org/a", *HOSTILE), [*tail, *HOSTILE])
    path = folder / "report.html"
    path.write_text(make_page(read(folder / "runs", "r2", "r3", "r4")))
    return path


def check(view: View, page: Path, width: int) -> None:
    assert view.requests == [page.as_uri()]
    assert view.complaints == []
    assert view.evaluate("document.documentElement.scrollWidth") <= width
    assert view.evaluate(f"{CHECKS}; findStructure()") == []
    contrast = view.evaluate(f"{CHECKS}; findContrast()")
    assert contrast["bad"] == [] and contrast["count"] > 200


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1100, 360])
def test_anybody_can_read_it(browser: Browser, page: Path, width: int, is_dark: bool) -> None:
    with browser.open(page, width, is_dark=is_dark) as view:
        check(view, page, width)
        color = view.evaluate("getComputedStyle(document.body).backgroundColor")
        assert color == ("rgb(14, 20, 27)" if is_dark else "rgb(247, 248, 250)")
        assert view.take_shot().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("</main>", "<img src='http://127.0.0.1:9/x.png'></main>", "complaints"),
        ("</main>", "<script>alert(1)</script></main>", "complaints"),
        ("<h2>", "<h4>", "level is skipped"),
        ('role="img"', 'role="none"', "picture without a name"),
        ("--soft:#5a6878", "--soft:#c0c8d0", "contrast"),
        ("table{", "table{min-width:3000px;", "scrollWidth"),
    ],
)
def test_what_is_wrong_is_found(
    browser: Browser, page: Path, tmp_path: Path, old: str, new: str, said: str
) -> None:
    text = page.read_text()
    assert old in text
    wrong = tmp_path / "wrong.html"
    wrong.write_text(text.replace(old, new))
    with browser.open(wrong, 1100, is_dark=False) as view, pytest.raises(AssertionError) as raised:
        check(view, wrong, 1100)
    assert said in str(raised.getrepr())
