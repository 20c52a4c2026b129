"""What a shim says on its status pipe (`warmup.supervise.tree.shim` has the grammar)."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

_MAX_LINE_BYTES = 1 << 20


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line; which of the fields are there tells what it says."""

    started: int | None = None
    failed: int | None = None
    stage: str = ""
    exit: int | None = None
    killed: int | None = None
    survivors: tuple[str, ...] = ()


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
            if self.fault is None:
                self._take(line)

    def _take(self, text: bytes) -> None:
        try:
            line = msgspec.json.decode(text, type=_Line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.fault = "something else wrote into the shim's status pipe"
            return
        if line.started is not None:
            self.started = line.started
        elif line.failed is not None:
            self.failed = (line.failed, line.stage)
        elif line.exit is not None:
            self.exit_status = line.exit
        elif line.killed is not None:
            self.ended = (line.killed, line.survivors)
