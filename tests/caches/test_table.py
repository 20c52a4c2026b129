from __future__ import annotations

from tests.caches.write_table import BEGIN, END, PAGE, make_tables


def test_the_page_about_caches_is_what_the_files_say() -> None:
    """Run `python -m tests.caches.write_table` after a family or an engine has changed."""
    text = PAGE.read_text()
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == make_tables()
