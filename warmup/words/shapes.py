"""What secrets look like: shapes of tokens, keys and passwords, and the spellings of one value."""

from __future__ import annotations

import base64
import json
import re
from urllib.parse import quote

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
            ("?", "&"),
            r"[?&][\w.%-]*(?:token|key|secret|passw(?:or)?d|sig|auth|credential)=(?P<value>[^\s\"'&#]+)",
        ),
        (
            ("key", "passw", "secret", "token", "sig"),
            _ASSIGNED + r"""(?:=["']?|["']?\s*:\s*["'])(?P<value>[^\s"',;&()]+)""",
        ),
    )
)


def find_shapes(text: str) -> list[tuple[int, int]]:
    """(start, end) of everything in the text that is shaped like a secret."""
    lower = text.lower()
    return [
        match.span(match.lastgroup or 0)
        for needles, shape in _SHAPES
        if any(needle in lower for needle in needles)
        for match in shape.finditer(text)
        if match.lastgroup == "secret" or is_worth_hiding(match[match.lastgroup or 0])
    ]


def is_worth_hiding(value: str) -> bool:
    """Not what is short or common: a log full of `***` helps nobody."""
    if _COMMON.fullmatch(value):
        return False
    if len(value) >= _MIN_LENGTH:
        return True
    return len(value) >= _MIN_MIXED_LENGTH and not value.isalpha() and not value.isdigit()


def show_bytes(value: str) -> str:
    """An environment may hold any bytes; those that are not UTF-8 show as `\\xff`."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def list_spellings(value: str) -> set[str]:
    """The value as it is, and as URLs, JSON, repr() and base64 (alone or inside more) spell it."""
    raw = value.encode("utf-8", "surrogateescape")
    forms = {show_bytes(value), quote(raw, safe=""), quote(raw)}
    forms |= {json.dumps(value)[1:-1], repr(value)[1:-1]}
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw).decode()
        # only characters that hold bits of the value alone
        whole = encoded[(shift * 8 + 5) // 6 : (shift + len(raw)) * 8 // 6]
        if len(whole) >= _MIN_LENGTH:
            forms |= {whole, whole.replace("+", "-").replace("/", "_")}
    return forms
