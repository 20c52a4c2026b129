"""Why a command could not be executed, in a user's words."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from warmup.words.errors import WarmupError


class NotExecutable(WarmupError):
    """exit_status: as a shell has it, 127 where the command was not found, else 126."""

    def __init__(self, code: int, what: str, *, cause: str, hint: str | None = None) -> None:
        super().__init__(what, cause=cause, hint=hint)
        self.exit_status = 127 if code == errno.ENOENT else 126


def check_command(argv: Sequence[str], env: Mapping[str, str]) -> None:
    """Raises WarmupError for what no kernel takes: no command, a NUL, a name with `=`."""
    if not argv or not argv[0]:
        raise NotExecutable(errno.ENOENT, "cannot start the server", cause="the command is empty")
    what = f"cannot start {argv[0]!r}"
    for index, word in enumerate(argv):
        if "\0" in word:
            raise WarmupError(what, cause=f"argument {index} holds a NUL character")
    for name, value in env.items():
        if not name or "=" in name or "\0" in name:
            raise WarmupError(what, cause=f"no name for an environment variable: {name!r}")
        if "\0" in value:
            raise WarmupError(what, cause=f"the variable {name} holds a NUL character")


def get_exec_error(
    code: int, stage: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path
) -> NotExecutable:
    """code: errno. stage: `cwd` where entering the folder failed, else `exec`."""
    name = argv[0]
    what = f"cannot start {name}"
    if stage == "cwd":
        return NotExecutable(
            code, what, cause=f"cannot enter its folder {cwd}: {os.strerror(code)}"
        )
    if code == errno.ENOENT:
        return _get_not_found(what, name, env, cwd)
    if code == errno.EACCES:
        return NotExecutable(
            code, what, cause="not executable", hint=f"chmod +x {name}, or name its program"
        )
    if code == errno.ENOEXEC:
        hint = "start it with a line such as #!/bin/sh"
        return NotExecutable(code, what, cause="neither a program nor a script", hint=hint)
    return NotExecutable(code, what, cause=os.strerror(code))


def _get_not_found(what: str, name: str, env: Mapping[str, str], cwd: Path) -> NotExecutable:
    if "/" not in name:
        path = env.get("PATH", os.defpath)
        hint = f"install it, or give its full path; PATH is {path}"
        return NotExecutable(errno.ENOENT, what, cause="command not found", hint=hint)
    if _is_file(cwd / name):
        hint = "its first line (#!) or its loader names a program that is not there"
        return NotExecutable(errno.ENOENT, what, cause="its interpreter was not found", hint=hint)
    hint = "check the path" if name.startswith("/") else f"it was looked for in the folder {cwd}"
    return NotExecutable(errno.ENOENT, what, cause="no such file", hint=hint)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
