"""Keep secrets out of every line that is shown.

Two kinds are blanked: values of environment variables that are meant to be secret, wherever and
however split they appear, and text that is shaped like a token. What is short or common is left
alone: a log full of `***` helps nobody.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

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
_SHELL_FOLDERS = ("PWD", "OLDPWD")
_PLACE_NAME = re.compile(r"_(?:FILE|PATH|DIR|SOCK|URL|URI|HOST|TYPE|NAME)$", re.IGNORECASE)
_COMMON = re.compile(
    "password|passwort|changeme|postgres|administrator|disabled|required|optional|undefined|"
    r"localhost|anonymous|\*+",
    re.IGNORECASE,
)
_MIN_LENGTH = 8
_MIN_MIXED_LENGTH = 6

_ASSIGNED = (
    r"(?:api[_-]?key|passw(?:or)?d|secret(?:[_-]?access)?(?:[_-]?key)?|(?:access|auth|hf|session|"
    r"security)[_-]?token|signature|\bsig)"
)
# Needles of which one must be there (so that the slow part runs seldom), and the shape. Its group
# `secret` is blanked; its group `value` is too, unless it is short or common.
_SHAPES: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = tuple(
    (needles, re.compile(shape, re.IGNORECASE))
    for needles, shape in (
        (("hf_",), r"(?<![a-z0-9])(?P<secret>hf_[a-z0-9]{16,})"),
        (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"(?P<secret>gh[pousr]_[a-z0-9]{16,})"),
        (("github_pat_",), r"(?P<secret>github_pat_\w{20,})"),
        (("sk-",), r"(?<![\w-])(?P<secret>sk-(?=[\w-]*\d)[\w-]{16,})"),
        (("glpat-", "xox"), r"(?P<secret>(?:glpat-|xox[abeoprs]-)[\w-]{10,})"),
        (("aiza", "npm_"), r"(?P<secret>aiza[\w-]{30,}|npm_[a-z0-9]{30,})"),
        (("akia", "asia"), r"\b(?P<secret>(?-i:AKIA|ASIA)[A-Z0-9]{16})\b"),
        (("eyj",), r"(?<![\w-])(?P<secret>(?-i:eyJ)[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"),
        (("bearer", "basic"), r"(?:bearer|authorization: ?basic) +(?P<value>[\w.~+/=-]+)"),
        (
            ("://",),
            r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://(?P<secret>[^/\s:@]*:[^/\s@]+|[^/\s:@]{16,})@",
        ),
        (
            ("private key",),
            r"(?P<secret>-----begin [a-z ]*private key-----[\s\S]*?"
            r"(?:-----end [a-z ]*private key-----|\Z))",
        ),
        (
            ("key", "passw", "secret", "token", "sig"),
            _ASSIGNED + r"""(?:=["']?|["']?\s*:\s*["'])(?P<value>[^\s"',;&()]+)""",
        ),
    )
)


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
            for form in _get_forms(value)
        }
        self._forms = tuple(sorted((form for form in forms if form), key=len, reverse=True))

    @classmethod
    def from_environment(cls, *envs: Mapping[str, str]) -> Redactor:
        """Values of variables that are named like secrets, or that are shaped like tokens."""
        named = (item for env in envs for item in env.items())
        return cls(tuple(secret for name, value in named for secret in _list_secrets(name, value)))

    @property
    def values(self) -> tuple[str, ...]:
        """The literal secrets as a log shows them, longest first (for GitHub's `::add-mask::`)."""
        return tuple(_escape(value) for value in self._values)

    @property
    def reach(self) -> int:
        """Bytes (so characters too) next to a cut that may be half of a secret."""
        return 256 + max((len(form.encode()) for form in self._forms), default=0)

    def redact(self, text: str) -> str:
        """The text with `***` for every secret, also one split by line ends or escape codes."""
        for escapes, breaks in _READINGS if "\x1b" in text else _READINGS[:1]:
            dense = "".join(escapes.sub("", text).split())
            text = _mask(text, breaks, self._find_values(dense))
            text = _mask(text, escapes, _find_shapes(escapes.sub("", text)))
        return text

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
    pieces, done = [], 0
    for start, end in _merge(spans, _Positions(text, junk)):
        pieces += [text[done:start], MASK]
        done = end
    return "".join([*pieces, text[done:]])


class _Positions:
    """Where a position of the text without junk lies in the text with it."""

    def __init__(self, text: str, junk: re.Pattern[str]) -> None:
        self._marks = []  # (position without junk, junk characters before it)
        removed = 0
        for match in junk.finditer(text):
            removed_end = removed + len(match[0])
            self._marks.append((match.start() - removed, removed_end))
            removed = removed_end

    def get(self, position: int) -> int:
        index = bisect_right(self._marks, position, key=lambda mark: mark[0])
        return position + (self._marks[index - 1][1] if index else 0)


def _merge(spans: list[tuple[int, int]], positions: _Positions) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        # the last character is looked up, not the end: junk behind the secret is no part of it
        start, end = positions.get(start), positions.get(end - 1) + 1
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _find_shapes(text: str) -> list[tuple[int, int]]:
    lower = text.lower()
    return [
        match.span(match.lastgroup or 0)
        for needles, shape in _SHAPES
        if any(needle in lower for needle in needles)
        for match in shape.finditer(text)
        if match.lastgroup == "secret" or _is_worth_hiding(match[match.lastgroup or 0])
    ]


def _list_secrets(name: str, value: str) -> list[str]:
    secrets = [value[start:end] for start, end in _find_shapes(value)]
    secrets += [password for password in _list_passwords(value) if _is_worth_hiding(password)]
    if is_secret_name(name) and not _is_place(value):
        secrets += [line for line in {value, *value.splitlines()} if _is_worth_hiding(line.strip())]
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


def _is_worth_hiding(value: str) -> bool:
    if _COMMON.fullmatch(value):
        return False
    if len(value) >= _MIN_LENGTH:
        return True
    return len(value) >= _MIN_MIXED_LENGTH and not value.isalpha() and not value.isdigit()


def _escape(value: str) -> str:
    """An environment may hold any bytes; those that are no UTF-8 show as `\\xff`."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _get_forms(value: str) -> set[str]:
    """The value as it is, and as URLs, JSON, repr() and base64 (alone or inside more) spell it."""
    raw = value.encode("utf-8", "surrogateescape")
    forms = {_escape(value), quote(raw, safe=""), quote(raw)}
    forms |= {json.dumps(value)[1:-1], repr(value)[1:-1]}
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode()
        # only characters that hold bits of the value alone
        whole = encoded[(shift * 8 + 5) // 6 : (shift + len(raw)) * 8 // 6]
        if len(whole) >= _MIN_LENGTH:
            forms |= {whole, whole.replace("+", "-").replace("/", "_")}
    return forms
