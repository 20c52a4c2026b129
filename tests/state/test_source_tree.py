from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from warmup.state.source_tree import get_tree_hash
from warmup.words.errors import UsageError

ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.com",
}


def git(repo: Path, *args: str) -> str:
    command = ["git", "-C", str(repo), *args]
    done = subprocess.run(command, env=ENV, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repo = tmp_path / "repo"
    (repo / "src" / "deep").mkdir(parents=True)
    (repo / "docs").mkdir()
    (repo / "src" / "kernel.py").write_text("one")
    (repo / "docs" / "page.md").write_text("one")
    (repo / ".gitignore").write_text("*.pyc\n")
    git(repo, "init", "-q")
    git(repo, "add", ".")
    git(repo, "commit", "-q", "-m", "one")
    return repo


def test_a_clean_path_is_its_tree(repo: Path) -> None:
    assert get_tree_hash("src", repo, ENV) == git(repo, "rev-parse", "HEAD:src")
    assert get_tree_hash("src", repo / "docs", ENV) == get_tree_hash("./src/", repo, ENV)
    assert get_tree_hash(str(repo / "src"), repo, ENV) == get_tree_hash("src", repo, ENV)
    assert get_tree_hash(".", repo, ENV) == git(repo, "rev-parse", "HEAD:")
    assert get_tree_hash("src/kernel.py", repo, ENV) == git(repo, "rev-parse", "HEAD:src/kernel.py")


def test_only_changes_under_the_path_count(repo: Path) -> None:
    clean = get_tree_hash("src", repo, ENV)
    (repo / "docs" / "page.md").write_text("two")
    (repo / "src" / "cache.pyc").write_text("ignored")
    assert get_tree_hash("src", repo, ENV) == clean
    git(repo, "commit", "-q", "-a", "-m", "docs")
    assert get_tree_hash("src", repo, ENV) == clean


def test_each_uncommitted_state_differs(repo: Path) -> None:
    kernel = repo / "src" / "kernel.py"
    seen = [get_tree_hash("src", repo, ENV)]
    kernel.write_text("two")
    seen.append(get_tree_hash("src", repo, ENV))
    kernel.write_text("six")  # same size, and maybe the same second
    seen.append(get_tree_hash("src", repo, ENV))
    kernel.chmod(0o755)
    seen.append(get_tree_hash("src", repo, ENV))
    kernel.unlink()
    seen.append(get_tree_hash("src", repo, ENV))
    (repo / "src" / "odd\nname \xe9").write_text("new")
    seen.append(get_tree_hash("src", repo, ENV))
    (repo / "src" / "link").symlink_to("nowhere")
    seen.append(get_tree_hash("src", repo, ENV))
    assert len(set(seen)) == len(seen)
    assert all(value.startswith(f"{seen[0]}+") for value in seen[1:])


def test_staging_changes_nothing(repo: Path) -> None:
    (repo / "src" / "kernel.py").write_text("two")
    before = get_tree_hash("src", repo, ENV)
    git(repo, "add", ".")
    assert get_tree_hash("src", repo, ENV) == before


def test_a_path_not_yet_committed(repo: Path) -> None:
    (repo / "new").mkdir()
    (repo / "new" / "file").write_text("x")
    assert get_tree_hash("new", repo, ENV).startswith("uncommitted+")


@pytest.mark.parametrize("path", ["none", "../outside", "/outside", ":(glob)*"])
def test_what_is_not_in_the_repository(repo: Path, path: str) -> None:
    with pytest.raises(UsageError, match=r"source path") as caught:
        get_tree_hash(path, repo, ENV)
    assert path in caught.value.what


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        get_tree_hash("src", tmp_path, ENV)
    assert "not a git repository" in (caught.value.cause or "")


def test_no_git(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot ask git"):
        get_tree_hash("src", repo, {"PATH": str(tmp_path)})
