"""A command of the user's as a supervised tree (`exec`, `observe`): nothing it starts survives it.

It keeps our standard streams, descriptors, folder, process group and terminal, and its exit status
becomes ours. Signals that came to us alone are handed on; what a key of the terminal sends, the
command has got already. Should orchestrator and shim both be killed, `reap` finds the rest by the
ledger of a run folder, which is removed again when all went well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from warmup.supervise.tree.exec_error import NotExecutable
from warmup.supervise.tree.ledger import has_to_be_reaped
from warmup.supervise.tree.server import Server
from warmup.supervise.tree.supervisor import Supervisor
from warmup.words.errors import HostError
from warmup.words.files import Folder

if TYPE_CHECKING:
    from warmup.state.api import Home

EXIT_TIMEOUT = 124  # as timeout(1) has it
_LOOK_S = 0.5
_GRACE_S = 4.0  # after SIGTERM, where its time is over
# Not SIGTSTP and SIGCONT: the terminal stops the whole group.
_FORWARDED = {
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
}  # fmt: skip
_HEARD = _FORWARDED | {signal.SIGCHLD}
_SI_KERNEL = 0x80  # asm-generic/siginfo.h: a key of the terminal, which the command got as well
_PYTHONS_OWN = {signal.SIGPIPE, signal.SIGXFSZ}  # Python ignores them, our caller did not


def run_attached(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    home: Home,
    run_id: str,
    warn: Callable[[str], None],
    timeout_s: float | None = None,
    look: Callable[[int], None] = lambda _: None,
) -> int:
    """Run it to its end, and end what it leaves behind. Returns its exit status.

    run_id: a new one, for its ledger. 128 + signal where a signal ended it, 124 where `timeout_s`
    was over. look: told the command's
    pid, twice a second and whenever a signal comes. On the main thread only. Raises NotExecutable,
    Cancelled where our parent has died before it started, and HostError.
    """
    ignored = {each for each in signal.valid_signals() if signal.getsignal(each) == signal.SIG_IGN}
    _fill_standard_streams()
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    try:
        with _made_run_dir(home, run_id) as run_dir, Supervisor(run_dir, warn=warn) as supervisor:
            early = signal.sigpending()
            try:
                server = supervisor.attach(argv, env=env, ignored=ignored - _PYTHONS_OWN)
            except NotExecutable as error:
                error.what = f"cannot run {argv[0]}"
                raise
            is_over = _await_end(server, supervisor, early, timeout_s, look)
            return _conclude(server, is_over, warn)
    finally:
        # What came since the command ended is not to end the report.
        while signal.sigtimedwait(_HEARD, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _fill_standard_streams() -> None:
    """A stream that was closed before we began (`2>&-`) must not become one of our pipes."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


@contextlib.contextmanager
def _made_run_dir(home: Home, run_id: str) -> Iterator[Path]:
    """It stays where `reap` may need its ledger: processes live on, or we are killed."""
    home.ensure()
    run_dir = home.make_run_dir(run_id)
    try:
        yield run_dir
    finally:
        with contextlib.suppress(OSError):  # `gc` collects it
            with Folder.open(run_dir) as folder:
                is_needed = has_to_be_reaped(folder)
            if not is_needed:
                home.get_folder("runs").remove(run_dir.name)


def _await_end(
    server: Server,
    supervisor: Supervisor,
    early: Collection[int],
    timeout_s: float | None,
    look: Callable[[int], None],
) -> bool:
    """Until the tree has ended, or has to be ended. Returns whether its time was over.

    early: signals that came before the command was there: whoever sent them, it did not get them.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    early = set(early)
    while not server.has_ended and supervisor.find_cancelled() is None:
        look(server.leader_pid)
        left_s = _LOOK_S if deadline is None else deadline - time.monotonic()
        if left_s <= 0 and server.messages.exit_status is None:
            return True
        info = signal.sigtimedwait(_HEARD, max(0.0, min(_LOOK_S, left_s)))
        if info is not None and info.si_signo in _FORWARDED:
            if info.si_code != _SI_KERNEL or info.si_signo in early:
                server.signal(info.si_signo)
            early.discard(info.si_signo)
        server.pump()
    return False


def _conclude(server: Server, is_over: bool, warn: Callable[[str], None]) -> int:
    told = server.find_exit()
    report = server.stop(_GRACE_S)
    if is_over:
        warn("the command was ended: its time was over")
        return EXIT_TIMEOUT
    status = server.messages.exit_status
    if status is None:
        raise HostError("the command has lost its supervisor", cause=f"it {told}")
    if report.killed and not report.is_grace_over:
        warn(f"processes that the command left behind were ended: {report.killed}")
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
