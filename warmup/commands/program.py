"""The program around a command: signals, errors as lines or a document, the exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from warmup.words.errors import Cancelled, WarmupError


class _Terminated(BaseException):
    """SIGTERM where nothing is supervised. As KeyboardInterrupt is, no `except Exception`'s."""


def _terminate(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends what the first began
    raise _Terminated


def run_program(call: Callable[[dict[str, bool]], int]) -> NoReturn:
    """Call it and exit; the one place where errors become lines and an exit status.

    call: is given what it may fill: `json`, whether an error has to become a document too.
    """
    signal.signal(signal.SIGTERM, _terminate)  # a supervisor puts its own in place of it
    from warmup.report.api import flush_standard_streams

    status = _run(call)
    flush_standard_streams()
    sys.exit(status)


def _run(call: Callable[[dict[str, bool]], int]) -> int:
    asked: dict[str, bool] = {}
    try:
        return call(asked)
    except KeyboardInterrupt:
        return _report(Cancelled(signal.SIGINT, "SIGINT"), asked)
    except _Terminated:
        return _report(Cancelled(signal.SIGTERM, "SIGTERM"), asked)
    except WarmupError as error:
        return _report(error, asked)
    except Exception:
        import traceback

        from warmup.report.api import Output

        Output(sys.stderr).line(traceback.format_exc().rstrip())
        hint = "report it with the lines above"
        return _report(WarmupError("this is a bug in warmup-ci", hint=hint), asked)


def _report(error: WarmupError, asked: dict[str, bool]) -> int:
    """Lines on stderr; under `--json` a document on stdout as well. Returns the exit status."""
    from warmup.report.api import ErrorDocument, Output
    from warmup.words.secrets import Redactor

    error.redact(Redactor.from_environment(os.environ).redact)
    Output(sys.stderr).line(error.render())
    if asked.get("json"):
        Output(sys.stdout).document(ErrorDocument.make(error).encode())
    return error.exit_status
