"""The commands that a page shows, held against the command line that there is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from tests.docs.markdown import Block, Document
from warmup.cli import cli
from warmup.engine.flags import make_parser

ROOT = Path(__file__).parents[2]
# What a block of commands begins with; every other block is output, a file or a drawing.
PROGRAMS = frozenset(
    {"warmup-ci", "make", "pip", "python", "ssh-keygen", "sbatch", "kubectl", "rm", "sed"}
)
# Words that stand for what the reader has.
METAVARS = {
    "SECONDS": "60",
    "CMD": "true",
    "FILE": "file",
    "DIR": "folder",
    "N": "2",
    "I/N": "1/2",
    "PATH": "path",
    "$SHARD": "1/2",
}
_SHELL = frozenset({"", "sh", "bash", "shell", "console"})


@dataclass(frozen=True)
class Command:
    """line: of the page, from 1. text: for a shell. status: that the page gives it, in a comment.
    is_synopsis: it shows what may be said."""

    line: int
    text: str
    status: int = 0

    @property
    def is_synopsis(self) -> bool:
        return "…" in self.text or bool(re.search(r"\[(-|the |RUN)", self.text))

    @property
    def words(self) -> list[str]:
        text = re.sub(r"[\[\]…]|\.\.\.", "", self.text) if self.is_synopsis else self.text
        lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;<>()")
        lexer.whitespace_split = True
        return [METAVARS.get(word, word) for word in lexer]

    @property
    def programs(self) -> Iterator[list[str]]:
        """The words of each simple command; what is redirected is left out."""
        found: list[str] = []
        words = self.words
        for number, word in enumerate(words):
            if set(word) <= set("|&;()"):
                yield found
                found = []
            elif not (set(word) <= set("<>") or (number and set(words[number - 1]) <= set("<>"))):
                found.append(word)
        yield found


def list_commands(document: Document) -> Iterator[Command]:
    """Of blocks of shell; where lines begin with `$ `, of those lines alone."""
    for block in document.blocks:
        yield from _list_block(block)


def list_inner(document: Document) -> Iterator[Command]:
    """Calls of `warmup-ci` that YAML and scripts hold; they are parsed, not run."""
    for block in document.blocks:
        for number, line in enumerate([] if is_shell(block) else block.lines):
            if line.lstrip().startswith(("- run:", "run:", "exec ")):
                for found in re.findall(r"warmup-ci [a-z][^)`#]*", line):
                    text = found.rstrip()
                    yield Command(block.line + number, text[: -(text.count('"') % 2) or None])


def is_shell(block: Block) -> bool:
    first = next((line for line in block.lines if line.strip() and line[0] != "#"), "")
    words = re.sub(r"^(\w+=\S* )+", "", first.removeprefix("$ ")).split()
    word = words[0] if words else ""
    return block.language in _SHELL and word in PROGRAMS and not block.name


def _list_block(block: Block) -> Iterator[Command]:
    if not is_shell(block):
        return
    has_prompt = any(line.startswith("$ ") for line in block.lines)
    number = block.line + bool(block.language)
    waiting = ""
    for offset, line in enumerate(block.lines):
        if has_prompt and not line.startswith("$ ") and not waiting:
            continue
        text = waiting + line.removeprefix("$ ").strip()
        if text.endswith("\\"):
            waiting = text[:-1]
            continue
        waiting = ""
        text, _, note = re.sub(r"\s+# ", "\0", text, count=1).partition("\0")
        if text and not text.startswith("#"):
            status = re.search(r"exit status (\d+)", note)
            yield Command(number + offset, text, int(status[1]) if status else 0)


def find_wrong(command: Command) -> str | None:
    """Why this line is none that the command line takes; None where it is."""
    for words in command.programs:
        while words and (re.fullmatch(r"\w+=.*", words[0]) or words[0] == "exec"):
            words = words[1:]
        if not words:
            continue
        program, *args = words
        if program == "warmup-ci":
            wrong = _find_wrong_call(args)
        elif program == "make":
            wrong = find_wrong_target(args)
        elif program == "python":
            wrong = find_wrong_module(args)
        else:
            continue
        if wrong is not None:
            return wrong
    return None


def _find_wrong_call(args: list[str]) -> str | None:
    command: click.Command = cli
    while isinstance(command, click.Group):
        name, *args = args or [""]
        if name in ("--help", "-h", "--version"):
            return None
        if name not in command.commands:
            return f"no command {name!r}"
        command = command.commands[name]
    try:
        command.make_context(command.name, args)
    except click.exceptions.Exit:  # `--help`
        return None
    except click.ClickException as error:
        return error.format_message()
    return None


def find_wrong_target(args: list[str]) -> str | None:
    """Of `make`."""
    rules = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    return next((f"no target {arg}" for arg in args if "=" not in arg and arg not in rules), None)


def find_wrong_module(args: list[str]) -> str | None:
    """Of `python -m X` and `python FILE`, where they are of this tree."""
    if args[:1] == ["-m"] and len(args) > 1:
        parts = args[1].split(".")
        if not (ROOT / parts[0]).is_dir():
            return None
        place = ROOT.joinpath(*parts)
        is_there = place.with_suffix(".py").exists() or (place / "__main__.py").exists()
        return None if is_there else f"no module {args[1]}"
    if args and args[0].endswith(".py") and "/" in args[0] and not (ROOT / args[0]).exists():
        return f"no file {args[0]}"
    return None


def find_wrong_mention(code: str) -> str | None:
    """Of inline code such as `run --jobs N` or `make test`: an option, a target or a module that is
    not there. Code that is no command of ours has none of them."""
    words = code.partition(" -- ")[0].split()
    if words[:1] == ["make"]:
        return find_wrong_target(words[1:])
    if words[:1] == ["python"]:
        return find_wrong_module(words[1:])
    is_call = words[:1] == ["warmup-ci"] and len(words) > 1 and words[1].isalpha()
    words = words[1:] if is_call else words
    command: click.Command | None = cli
    while words and isinstance(command, click.Group):
        name = words.pop(0).strip(",;")
        if is_call and name not in command.commands and name.islower():
            return f"no command {name!r}"
        command = command.commands.get(name)
    if command is None or isinstance(command, click.Group):
        return None
    known = {
        "--help",
        *(opt for each in command.params for opt in (*each.opts, *each.secondary_opts)),
    }
    if command.name == "serve":  # its flags are the engine's
        known |= set(re.findall(r"--[a-z][\w-]*", make_parser().format_help()))
    for word in words:
        option = re.match(r"\[?(--[a-z][\w-]*)", word)
        if option and option[1] not in known:
            return f"{command.name} has no option {option[1]}"
    return None
