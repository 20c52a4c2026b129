"""What a shim says on its status pipe (`warmup.supervise.tree.shim` has the grammar)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

_MAX_LINE_BYTES = 1 << 20
_MAX_NUMBER = 1 << 31  # of a pid, an errno, a wait status, a count


@dataclass
class Messages:
    """What was said so far.

    failed: errno and stage of a command that could not be executed. exit_status: the leader's wait
    status. ended: how many SIGKILL ended, and who could not be ended. fault: why nothing more is
    believed; a server of the same user can write into its shim's descriptors.
    """

    started: int | None = None
    failed: tuple[int, str] | None = None
    exit_status: int | None = None
    ended: tuple[int, tuple[str, ...]] | None = None
    fault: str | None = None
    closed: bool = False
    _rest: bytes = field(default=b"", repr=False)

    def feed(self, text: bytes) -> None:
        *lines, self._rest = (self._rest + text).split(b"\n")
        if len(self._rest) > _MAX_LINE_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            if self.fault is None and not self._take(line):
                self.fault = "something else wrote into the shim's status pipe"

    def _take(self, text: bytes) -> bool:
        """Whether it is a line of the grammar, and nothing else."""
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            return False
        match line:
            case {"started": number, **rest} if _is_number(number) and not rest:
                self.started = number
            case {"failed": number, "stage": str(stage), **rest} if _is_number(number) and not rest:
                self.failed = (number, stage)
            case {"exit": number, **rest} if _is_number(number) and not rest:
                self.exit_status = number
            case {"killed": number, "survivors": [*texts], **rest} if (
                _is_number(number) and not rest and all(isinstance(each, str) for each in texts)
            ):
                self.ended = (number, tuple(texts))
            case _:
                return False
        return True


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value < _MAX_NUMBER
