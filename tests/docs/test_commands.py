"""Every command of README and docs/: it parses, and it runs in a folder of toy servers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.commands import (
    ROOT,
    Command,
    find_wrong,
    find_wrong_mention,
    list_commands,
    list_inner,
)
from tests.docs.markdown import Document, parse
from tests.docs.sandbox import Sandbox

PAGES = ("README.md", "workflows/README.md", *sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")
))  # fmt: skip

# What is not run here, and why. A line that no entry fits is run.
NOT_RUN = {
    r"pip install ": "asks a registry",
    r"make (demo|demo-target)\b": "makes an environment and takes minutes; run by hand",
    r"make test": "is what runs this",
    r"python tools/record_options.py ": "asks a registry",
    r"warmup-ci run .*--target ": "needs CUDA wheels: tests/target",
    r"warmup-ci run --models \./text ": "needs torch: tests/commands/test_ladder.py",
    r"warmup-ci push oci://ghcr\.io/": "asks a registry: tests/packs/test_registry.py",
    r"warmup-ci kernels (compile|rebuild|list .*--check) ": "needs a GPU, or an engine's DeepGEMM:"
    " tests/kernels, tests/commands/test_kernels.py",
}
# Pages that go on where another one ended.
AFTER = {"docs/why-cold.md": "docs/first-run.md", "docs/report.md": "docs/first-run.md"}
# Pages whose commands launch nothing: they are held against the real workflows.
READING = frozenset({"docs/drift.md"})
# The other pages take a minute together on a busy machine.
QUICK = frozenset({"README.md", "docs/first-run.md", "docs/drift.md"})


def read(page: str) -> Document:
    return parse((ROOT / page).read_text())


def find_reason(command: Command) -> str | None:
    """Why it is not run; None where it is."""
    if command.is_synopsis:
        return "a synopsis"
    found = [reason for pattern, reason in NOT_RUN.items() if re.match(pattern, command.text)]
    return found[0] if found else None


def list_wrong(document: Document) -> list[str]:
    """What the command line does not take, by line of the page."""
    found = []
    for command in (*list_commands(document), *list_inner(document)):
        wrong = find_wrong(command)
        if wrong is not None:
            found.append(f"{command.line}: {command.text}: {wrong}")
    for line, code in document.list_code():
        if (wrong := find_wrong_mention(code)) is not None:
            found.append(f"{line}: {code}: {wrong}")
    return found


def run_page(page: Document, folder: Path, *before: Document, launches: bool = True) -> list[str]:
    """Run what can be run, in order. What did not end as it should, with what it said."""
    box = Sandbox(folder, page, *before, launches=launches)
    found = []
    for command in (each for document in (*before, page) for each in list_commands(document)):
        if find_reason(command) is None:
            done = box.run(box.prepare(command.text))
            if done.returncode != command.status:
                said = (done.stdout + done.stderr)[-800:]
                found.append(f"{command.line}: {command.text}: status {done.returncode}: {said}")
    return found


@pytest.mark.parametrize("page", PAGES)
def test_the_command_line_takes_what_the_page_shows(page: str) -> None:
    assert list_wrong(read(page)) == []


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[] if page in QUICK else [pytest.mark.slow])
        for page in PAGES
        if any(find_reason(each) is None for each in list_commands(read(page)))
    ],
)
def test_the_pages_commands_run(page: str, tmp_path: Path) -> None:
    before = [read(AFTER[page])] if page in AFTER else []
    assert run_page(read(page), tmp_path, *before, launches=page not in READING) == []


def test_no_exception_is_listed_that_nothing_needs() -> None:
    texts = [each.text for page in PAGES for each in list_commands(read(page))]
    for pattern in NOT_RUN:
        assert any(re.match(pattern, text) for text in texts), pattern


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("    warmup-ci run --jobs many\n", "1: warmup-ci run --jobs many: "),
        ("    warmup-ci plan --matrx\n", "No such option"),
        ("    warmup-ci warm x\n", "no command 'warm'"),
        ("```sh\nexec warmup-ci run --shard 1/2 --shards\n```\n", "No such option"),
        ("    make nothing\n", "no target nothing"),
        ("    python -m benchmarks.nothing\n", "no module benchmarks.nothing"),
        ("    $ warmup-ci report --htlm x\n    output\n", "No such option"),
        ("    - run: warmup-ci run --nothing\n", "No such option"),
        ("Say `run --jobs N --nothing`.\n", "run has no option --nothing"),
        ("Say `warmup-ci fleet\nslurm --nothing`.\n", "slurm has no option --nothing"),
        ("Say `warmup-ci warm x`.\n", "no command 'warm'"),
        ("Say `serve --nothing`.\n", "serve has no option --nothing"),
        ("Say `make nothing`.\n", "no target nothing"),
    ],
)
def test_a_wrong_line_is_found(text: str, said: str) -> None:
    (found,) = list_wrong(parse(text))
    assert said in found


def test_a_command_that_fails_is_found(tmp_path: Path) -> None:
    page = "# T\n\n    warmup-ci report nowhere\n    warmup-ci report > out && test -s out\n"
    (found,) = run_page(parse(page), tmp_path)
    assert found.startswith("3: warmup-ci report nowhere: status 2: error: no run nowhere")
