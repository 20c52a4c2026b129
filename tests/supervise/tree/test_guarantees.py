"""What is said of a kernel that lacks something; this one has it all, so it is taken away."""

from __future__ import annotations

import os

import pytest

from warmup.supervise.tree import cookie, kernel, proc
from warmup.supervise.tree.guarantees import find_missing_guarantees


def test_nothing_is_missing_here() -> None:
    num_fds = len(list(os.scandir("/proc/self/fd")))
    was = kernel.is_subreaper()
    assert find_missing_guarantees() == []
    assert kernel.is_subreaper() == was
    assert len(list(os.scandir("/proc/self/fd"))) == num_fds


@pytest.mark.parametrize(
    ("module", "name", "answer", "words"),
    [
        (proc, "list_pids", [], "no /proc"),
        (cookie, "is_readable", False, "cannot be marked"),
        (cookie, "find_new_cookie", None, "cannot be marked"),
        (kernel, "find_pidfd", None, "no pidfd"),
        (kernel, "set_subreaper", False, "no child subreaper"),
    ],
)
def test_what_is_missing_is_said_with_what_is_left(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, answer: object, words: str
) -> None:
    monkeypatch.setattr(module, name, lambda *_: answer)
    (sentence,) = find_missing_guarantees()
    assert sentence.startswith(words) or words in sentence
    assert ":" in sentence
