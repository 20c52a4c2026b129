"""What git says of a path: the tree hash at HEAD, and a digest of what is not committed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from warmup.report.api import get_count
from warmup.words.errors import UsageError

_TIMEOUT_S = 60
_MANY = 100_000  # files; more uncommitted ones are a wrong path, not a change


def get_tree_hash(path: str, repo_dir: Path, env: Mapping[str, str]) -> str:
    """`git rev-parse HEAD:path`, with `+<digest>` where files under it differ from HEAD.

    `path` is relative to the top of the repository that `repo_dir` lies in. Ignored files do not
    count. Raises UsageError: no repository, no git, or nothing at that path.
    """
    top = Path(_git(["rev-parse", "--show-toplevel"], path, repo_dir, env).rstrip("\n"))
    inside = os.path.normpath(os.path.relpath(path, top) if path.startswith("/") else path)
    if inside == ".." or inside.startswith("../"):
        raise UsageError(f"source path {path!r} leaves the repository", cause=f"its top is {top}")
    spec = "HEAD:" if inside == "." else f"HEAD:{inside}"
    tree = _git(["rev-parse", "--verify", "--quiet", spec], path, top, env, may_fail=True).strip()
    status = ["status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames"]
    listing = _git([*status, "--", f":(top,literal){inside}"], path, top, env)
    if not tree and not listing:
        raise UsageError(
            f"source path {path!r} is not in the repository",
            cause=f"neither committed nor present under {top}",
            hint="source_paths are relative to the top of the repository",
        )
    changed = [item[3:] for item in listing.split("\0") if item]
    if not changed:
        return tree
    return f"{tree or 'uncommitted'}+{_hash_files(top, changed)}"


def _hash_files(top: Path, names: list[str]) -> str:
    if len(names) > _MANY:
        raise UsageError(
            f"{get_count(len(names), 'uncommitted file')} under a source path of {top}"
        )
    digest = hashlib.sha256()
    for name in sorted(names):
        content = _hash_file(top / name)
        digest.update(f"{len(name)} {name} {content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _hash_file(path: Path) -> str:
    """Mode and contents as git would see them; "gone" for a deletion."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return "gone"
    if stat.S_ISLNK(status.st_mode):
        return f"link {os.readlink(path)}"  # noqa: PTH115 - Path normalises, git does not
    if not stat.S_ISREG(status.st_mode):
        return "special"  # a submodule's folder, a socket: git tracks no contents here
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UsageError(
            f"cannot read {path}, which a source path holds", cause=str(error)
        ) from None
    return f"{'x' if status.st_mode & 0o100 else '-'} {digest.hexdigest()}"


def _git(
    args: list[str], path: str, folder: Path, env: Mapping[str, str], may_fail: bool = False
) -> str:
    import subprocess

    # fsmonitor would run a program that the repository names; we only look.
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *args]
    clean_env = {key: value for key, value in env.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            command,
            env={**clean_env, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"cannot ask git about source path {path!r}", cause=str(error)) from error
    if done.returncode != 0 and not may_fail:
        raise UsageError(
            f"cannot ask git about source path {path!r}",
            cause=os.fsdecode(done.stderr).strip().splitlines()[0] if done.stderr else None,
            hint="source_paths need a git checkout that this user may read"
            " (`git config --global --add safe.directory DIR` if another user owns it)",
        )
    return os.fsdecode(done.stdout)
