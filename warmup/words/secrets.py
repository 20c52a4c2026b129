"""Keep secrets out of every line that is shown.

Two kinds are blanked: values of environment variables that are meant to be secret, wherever and
however split they appear, and text that is shaped like a token. What is short or common is left
alone: a log full of `***` helps nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from warmup.words.shapes import find_shapes, is_worth_hiding, list_spellings, show_bytes

MASK = "***"

# Control characters (tab and line ends apart) and invisible direction marks. A plain set of
# characters at the start of a pattern is what `re` can search for fast.
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
_ESCAPE = (
    rf"{_CONTROL}(?:(?<=\x1b)(?:\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # OSC: titles, links
    r"|[PX^_][^\x1b\n]*(?:\x1b\\)?"  # DCS, SOS, PM, APC
    r"|[ -/]*[0-~]))?"
)
# What may stand between two characters of a secret, and with blanks: logs wrap and indent. Looked
# at twice, because an escape character may also swallow the start of a secret behind it.
_READINGS = tuple((re.compile(junk), re.compile(rf"{junk}|\s")) for junk in (_ESCAPE, _CONTROL))
_ESCAPES = _READINGS[0][0]

# Whole words of a name, and parts that tell without being one (TOKENIZERS_PARALLELISM and
# MAX_TOKENS are not secret).
_SECRET_WORDS = frozenset({
    "AUTH", "AUTHORIZATION", "APIKEY", "COOKIE", "CREDENTIAL", "CREDENTIALS", "KEY", "PASSPHRASE",
    "PASSWD", "PASSWORD", "PAT", "PWD", "SECRET", "SECRETS", "TOKEN",
})  # fmt: skip
_SECRET_PART = re.compile(
    r"TOKEN(?![IS])|SECRET|PASSW|PASSPHRASE|CREDENTIAL|AUTHORIZATION"
    r"|(?:API|ACCESS|PRIVATE|ENCRYPTION|SIGNING|SSH|DEPLOY|ACCOUNT|STORAGE)_?KEY",
    re.IGNORECASE,
)
# What an option's name ends with whose value is secret: `--hf-token`, but not the
# `--speculative-token-map` and `--dbo-decode-token-threshold` of the engines.
_SECRET_END = re.compile(
    r"(?:TOKEN|SECRETS?|PASSW(?:OR)?D|PASSPHRASE|CREDENTIALS?|AUTHORIZATION|AUTH|COOKIE|PAT|PWD|KEY)$",
    re.IGNORECASE,
)
# `--api-key=VALUE`, `HF_TOKEN=VALUE`, `X-Api-Key: VALUE`; or the option alone
_OPTION = re.compile(
    r"(?P<begin>-{0,2}(?P<name>[A-Za-z_][\w.-]*)(?:=|: ?)?)(?P<value>(?<=[=: ]).*)?", re.DOTALL
)
_HARMLESS = re.compile(r"|-?\d{1,5}(?:\.\d+)?|true|false|none|null|empty", re.IGNORECASE)
_SHELL_FOLDERS = ("PWD", "OLDPWD")
_PLACE_NAME = re.compile(r"_(?:FILE|PATH|DIR|SOCK|URL|URI|HOST|TYPE|NAME)$", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether the value of a variable or option of this name must be neither shown nor written.

    The one rule, for logs, markers and events alike. A name that says where a secret lies
    (`…_FILE`, `…_PATH`) is not secret.
    """
    if name in _SHELL_FOLDERS or _PLACE_NAME.search(name):
        return False
    words = re.split(r"[^A-Z0-9]+", name.upper())
    return not _SECRET_WORDS.isdisjoint(words) or _SECRET_PART.search(name) is not None


class Redactor:
    """Blanks secrets in text; knows the values it was made with and the usual token shapes."""

    def __init__(self, values: tuple[str, ...] = ()) -> None:
        self._values = tuple(sorted({value for value in values if value}, key=len, reverse=True))
        forms = {
            "".join(strip_escapes(form).split())
            for value in self._values
            for form in list_spellings(value)
        }
        self._forms = tuple(sorted((form for form in forms if form), key=len, reverse=True))

    @classmethod
    def from_environment(
        cls, *envs: Mapping[str, str], argvs: Iterable[Sequence[str]] = ()
    ) -> Redactor:
        """Values of variables and options that are named like secrets, or shaped like tokens."""
        named = [item for env in envs for item in env.items()]
        named += [item for argv in argvs for item in _list_options(argv)]
        return cls(tuple(secret for name, value in named for secret in _list_secrets(name, value)))

    @property
    def values(self) -> tuple[str, ...]:
        """The literal secrets as a log shows them, longest first (for GitHub's `::add-mask::`)."""
        return tuple(show_bytes(value) for value in self._values)

    @property
    def reach(self) -> int:
        """Bytes (so characters too) next to a cut that may be half of a secret."""
        return 256 + max((len(form.encode()) for form in self._forms), default=0)

    def redact(self, text: str) -> str:
        """The text with `***` for every secret, also one split by line ends or escape codes."""
        for escapes, breaks in _READINGS if "\x1b" in text else _READINGS[:1]:
            dense = "".join(escapes.sub("", text).split())
            text = _mask(text, breaks, self._find_values(dense))
            text = _mask(text, escapes, find_shapes(escapes.sub("", text)))
        return text

    def redact_argv(self, argv: Sequence[str]) -> tuple[str, ...]:
        """A command line that may be written down: `--api-key ***`, `HF_TOKEN=***`."""
        redacted: list[str] = []
        is_value = False  # of the secret option before it
        for word in argv:
            if is_value and not word.startswith("--"):
                redacted.append(word if _HARMLESS.fullmatch(word) else MASK)
                is_value = False
                continue
            option = _find_secret_option(word)
            is_value = option is not None and word.startswith("-") and option["value"] is None
            if option is not None and not _HARMLESS.fullmatch(option["value"] or ""):
                word = f"{option['begin']}{MASK}"
            redacted.append(self.redact(word))
        return tuple(redacted)

    def redact_env(self, env: Mapping[str, str]) -> dict[str, str]:
        """Variables that may be written down: `***` for those named like secrets."""
        return {
            name: MASK if is_secret_name(name) and value else self.redact(value)
            for name, value in env.items()
        }

    def redact_data(self, data: Any) -> Any:
        """The same for every string in what JSON can hold; a list named `argv` is a command."""
        if isinstance(data, str):
            return self.redact(data)
        if isinstance(data, Mapping):
            return {
                name: list(self.redact_argv(value))
                if name == "argv" and value is not None
                else self.redact_data(value)
                for name, value in data.items()
            }
        if isinstance(data, list | tuple):
            return [self.redact_data(value) for value in data]
        return data

    def _find_values(self, text: str) -> list[tuple[int, int]]:
        """Where the values lie in text without breaks (blanks included)."""
        spans = []
        for form in self._forms:
            start = text.find(form)
            while start >= 0:
                spans.append((start, start + len(form)))
                start = text.find(form, start + 1)
        return spans


def strip_escapes(text: str) -> str:
    """Text without escape sequences and control characters; tabs and line ends stay."""
    return _ESCAPES.sub("", text)


def _mask(text: str, junk: re.Pattern[str], spans: list[tuple[int, int]]) -> str:
    """Blank spans that are given as positions in the text without junk, and the junk in them."""
    if not spans:
        return text
    places: list[int] = []  # of each character of the text without junk
    done = 0
    for match in junk.finditer(text):
        places += range(done, match.start())
        done = match.end()
    places += range(done, len(text))
    # The last character is looked up, not the end: junk behind a secret is left alone.
    spans = [(places[start], places[end - 1] + 1) for start, end in spans if end > start]
    pieces, done = [], 0
    for start, end in _merge(spans):
        pieces += [text[done:start], MASK]
        done = end
    return "".join([*pieces, text[done:]])


def _merge(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Spans in order, those that touch or overlap as one."""
    begin, end = -1, -1
    for start, stop in sorted(spans):
        if start > end:
            if end > begin:
                yield begin, end
            begin = start
        end = max(end, stop)
    yield begin, end


def _find_secret_option(word: str) -> re.Match[str] | None:
    """`--api-key`, `--api-key=VALUE`, `HF_TOKEN=VALUE`, `X-Api-Key: VALUE`."""
    option = _OPTION.fullmatch(word)
    name = "" if option is None else option["name"].replace("-", "_")
    return option if _SECRET_END.search(name) and is_secret_name(name) else None


def _list_options(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name, value) of each secret option; of other words ("", word), for what shows by itself."""
    name = ""
    for word in argv:
        option = _find_secret_option(word)
        if name and not word.startswith("--"):
            yield name, word
            name = ""
        elif option is None:
            yield "", word
            name = ""
        else:
            name = option["name"].replace("-", "_")
            yield name, option["value"] or ""
            name = "" if option["value"] is not None else name


def _list_secrets(name: str, value: str) -> list[str]:
    secrets = [value[start:end] for start, end in find_shapes(value)]
    secrets += [password for password in _list_passwords(value) if is_worth_hiding(password)]
    if is_secret_name(name) and not _is_place(value):
        secrets += [line for line in {value, *value.splitlines()} if is_worth_hiding(line.strip())]
    return [secret.strip() for secret in secrets]


def _list_passwords(value: str) -> list[str]:
    if "://" not in value:
        return []
    try:
        password = urlsplit(value).password or ""
    except ValueError:  # no URL after all
        return []
    return [password, unquote(password)]


def _is_place(value: str) -> bool:
    """Whether a value is a URL or an existing path: where a secret is kept, not the secret."""
    if re.match(r"[a-z][a-z0-9+.-]*://", value, re.IGNORECASE):
        return True
    try:
        return value.startswith(("/", "~/")) and Path(value).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, no home: no path
        return False
