"""Placeholders in `command`, `env` values and `fallback_args`.

The rule: `{name}`, where name is an identifier, is a placeholder, and one of `PLACEHOLDERS`
or an error. Everything else stays as written: JSON (`{"a": 1}`), `{}`, `{ spaced }`, and doubled
braces around an identifier (`{{port}}`), which is what a Jinja template means by them.
`{"port": {port}}` holds one placeholder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from warmup.launch.engine import PLACEHOLDERS, Allocation
from warmup.launch.launch import Launch
from warmup.words.errors import UsageError

# The doubled form is tried first, so that it is skipped whole.
_BRACED = re.compile(r"\{\{[A-Za-z_][A-Za-z0-9_]*\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}")


def find_unknown(text: str) -> str | None:
    """The first placeholder of `text` that does not exist, without its braces."""
    for match in _BRACED.finditer(text):
        name: str | None = match.group(1)
        if name is not None and name not in PLACEHOLDERS:
            return name
    return None


def get_values(launch: Launch, allocation: Allocation) -> dict[str, str]:
    """The value of each placeholder. `model` is absolute where it is a local folder."""
    return {
        "port": str(allocation.port),
        "model": launch.model_argument,
        "tp": str(launch.tp),
        "gpus": allocation.gpus,
        "run_dir": allocation.run_dir,
        "workflow_dir": allocation.workflow_dir or launch.workflow_dir,
    }


def substitute(text: str, values: Mapping[str, str]) -> str:
    """`text` with its placeholders filled in, once: values are not looked at again.

    Raises UsageError for a placeholder that `values` lacks.
    """

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return match.group(0)
        if name not in values:
            raise UsageError(
                f"unknown placeholder {{{name}}} in {text!r}",
                hint="placeholders are " + ", ".join(f"{{{known}}}" for known in PLACEHOLDERS),
            )
        return values[name]

    return _BRACED.sub(replace, text)
