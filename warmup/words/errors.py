"""The errors a user can meet. One shape, caught once at the top (`warmup.commands.program`).

Anything else that reaches the top is our own bug and is reported as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_HOST = 3
EXIT_INTEGRITY = 4


class WarmupError(Exception):
    """Something a user can act on.

    `what` failed, for which `cause`, which `log` file tells more, what to try (`hint`).
    is_evidence: the server itself failed or answered wrongly, so what was said to be warm is not.
    A starved host, a signal from outside, a time that was over are none.
    `exit_status` is design.md section 3's.
    """

    exit_status = EXIT_FAILED

    def __init__(
        self,
        what: str,
        *,
        cause: str | None = None,
        log: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.cause = cause
        self.log = log
        self.hint = hint
        self.is_evidence = False

    @property
    def reason(self) -> str:
        """One line for a verdict: what failed and why."""
        return self.what if self.cause is None else f"{self.what}: {self.cause}"

    def redact(self, redact: Callable[[str], str]) -> None:
        """Take the secrets out of all that it says, before it is shown or written down."""
        self.what = redact(self.what)
        for name in ("cause", "log", "hint"):
            text = getattr(self, name)
            setattr(self, name, None if text is None else redact(text))

    def render(self) -> str:
        """The lines a user reads: `error:`, `  cause:`, `  log:`, `hint:`."""
        lines = [f"error: {self.what}"]
        if self.cause is not None:
            lines.append(f"  cause: {self.cause}")
        if self.log is not None:
            lines.append(f"  log: {self.log}")
        if self.hint is not None:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class UsageError(WarmupError):
    """Wrong flags, a wrong workflow file, a model no engine can serve."""

    exit_status = EXIT_USAGE


class HostError(WarmupError):
    """This host cannot do it: home not writable, disk full, no driver."""

    exit_status = EXIT_HOST


class IntegrityError(WarmupError):
    """Bytes are not what was written: a checksum or a signature does not hold."""

    exit_status = EXIT_INTEGRITY


class Cancelled(WarmupError):
    """A signal, or the parent's death, ended the run. Exit status is 128 + signal number."""

    def __init__(self, signum: int, why: str) -> None:
        super().__init__(f"cancelled by {why}")
        self.signum = signum
        self.exit_status = 128 + signum


def find_status(errors: Iterable[WarmupError]) -> int | None:
    """A run's exit status where its errors decide it: a cancellation's, else an unusable host's."""
    found = list(errors)
    for error in found:
        if isinstance(error, Cancelled):
            return error.exit_status
    return EXIT_HOST if any(error.exit_status == EXIT_HOST for error in found) else None
