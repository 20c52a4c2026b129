"""Every relative link of a page leads somewhere, and every path that it names is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.commands import ROOT
from tests.docs.markdown import parse

PAGES = sorted(
    subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()
)  # fmt: skip
# Paths of this tree as inline code names them.
_PATH = re.compile(r"(?:warmup|docs|tests|tools|benchmarks|workflows|markers)/[\w./-]*[\w/]")
_SCHEME = re.compile(r"[a-z][a-z+.-]*:")


def list_dead(page: Path, root: Path) -> list[str]:
    """Links and paths of the page that lead nowhere, by line."""
    document = parse(page.read_text())
    found = []
    for line, link in document.list_links():
        name, _, anchor = link.partition("#")
        if _SCHEME.match(link):
            continue
        to = page.parent / name if name else page
        if not to.exists():
            found.append(f"{line}: no {name}")
        elif anchor and anchor not in parse(to.read_text()).anchors:
            found.append(f"{line}: {name or page.name} has no #{anchor}")
    for line, code in document.list_code():
        if (
            _PATH.fullmatch(code)
            and not (root / code).exists()
            and not (page.parent / code).exists()
        ):
            found.append(f"{line}: no {code}")
    return found


@pytest.mark.parametrize("page", PAGES)
def test_a_page_leads_somewhere(page: str) -> None:
    assert list_dead(ROOT / page, ROOT) == []


def test_every_page_is_reached_from_the_index() -> None:
    index = parse((ROOT / "docs" / "README.md").read_text())
    linked = {link.partition("#")[0] for _, link in index.list_links()}
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} <= linked


def test_what_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "b.md").write_text("# One, two\n\n## Same\n\n## Same\n")
    page = tmp_path / "a.md"
    page.write_text(
        "# A\n\n[good](docs/b.md#one-two), [too](#a), [third](docs/b.md#same-1), [far](https://x/y)\n"
        "[gone](docs/c.md)\n![gone too](img.png)\n[wrong](docs/b.md#three)\n[here](#b)\n"
        "`docs/b.md` is there and\n`docs/nothing.md` is not. `[no](link.md)`\n\n    [no](link.md)\n"
    )
    assert list_dead(page, tmp_path) == [
        "4: no docs/c.md",
        "5: no img.png",
        "6: docs/b.md has no #three",
        "7: a.md has no #b",
        "9: no docs/nothing.md",
    ]
