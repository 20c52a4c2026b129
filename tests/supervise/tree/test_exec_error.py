from __future__ import annotations

import errno
from pathlib import Path

import pytest

from warmup.supervise.tree.exec_error import get_exec_error


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (errno.EACCES, "not executable"),
        (errno.ENOEXEC, "neither a program nor a script"),
        (errno.ENOMEM, "Cannot allocate memory"),
        (errno.E2BIG, "Argument list too long"),
    ],
)
def test_a_code_becomes_a_cause(code: int, cause: str) -> None:
    error = get_exec_error(code, "exec", ["./server", "--key", "secret"], {}, Path("/"))
    assert error.reason == f"cannot start ./server: {cause}"
    assert "secret" not in error.render()


def test_a_relative_path_says_where_it_was_looked_for() -> None:
    error = get_exec_error(errno.ENOENT, "exec", ["bin/server"], {}, Path("/srv/run"))
    assert error.hint == "it was looked for in the folder /srv/run"


def test_without_path_the_systems_default_is_named() -> None:
    error = get_exec_error(errno.ENOENT, "exec", ["server"], {}, Path("/"))
    assert error.hint == "install it, or give its full path; PATH is /bin:/usr/bin"
