"""The project file above a folder, found and looked through before anything that reads it loads."""

from __future__ import annotations

from pathlib import Path

from warmup.words.files import read_regular

TABLE = "warmup-ci"  # under [tool]
_MAX_BYTES = 4 << 20


def find_project_file(start: Path) -> Path | None:
    """The nearest pyproject.toml at or above `start`."""
    paths = (folder / "pyproject.toml" for folder in (start, *start.parents))
    return next((path for path in paths if path.is_file()), None)


def may_speak_of_us(path: Path) -> bool:
    """Whether `[tool.warmup-ci]` may be in it. True where it cannot be read: whoever parses it
    says why. In TOML a key may be escaped, so a backslash is enough."""
    try:
        data = read_regular(path, _MAX_BYTES, follow=True)
    except OSError:
        return True
    return TABLE.encode() in data or b"\\u" in data.lower()
