"""One rank: `python -m warmup.engine.worker`, started by `engine/launcher.py` only.

How a runner plugs in
---------------------
A *backend* (`engine/backends.py`) names two factories, each imported only where it is needed:

- `make_runner(args, ranks) -> Runner`, called on every rank: loads the model onto `ranks.device`.
  It may raise; the ranks agree on that before anyone goes on.
- `make_frontend(args) -> Frontend` (`engine/backends.py`), called in the HTTP process: routes,
  parameter checks, the plan of warm-up requests. It imports no torch unless the backend must.

Every rank runs the loop below with the same data, in the same order:

    requests = ranks.broadcast(<what rank 0 has received>)   # a list, maybe empty
    runner.admit(requests)                                   # only if there are any
    replies = runner.step()                                  # only if runner.has_work

`admit` and `step` may use collectives, since all ranks enter them together with the same lists.
`has_work` must be the same on every rank. A failure that belongs to a request is a `RankReply` with
a `Failure` (agree on it first: `ranks.agree_each`); an exception out of `admit` or `step` ends
the rank, and with it the server's health. Replies of rank 0 go to the HTTP process; those of
other ranks are dropped. Streaming is several replies with `final=False`, then one `final=True`.
While idle, rank 0 broadcasts an empty list every quarter of --dist-timeout (at most 15 s), so that
an idle server never meets it, and a rank that hangs while idle is found.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any, Protocol

import msgspec

from warmup.engine.args import ServerArgs
from warmup.engine.backends import load
from warmup.engine.messages import Broken, Failure, RankReply, Ready, Request, Stats
from warmup.words.errors import WarmupError

IDLE_BEAT_S = 15.0


class Runner(Protocol):
    """A loaded model on one rank. See the top of this file for the rules."""

    @property
    def info(self) -> dict[str, Any]:
        """Facts for /model_info (JSON)."""

    @property
    def has_work(self) -> bool:
        """Is there an admitted request that has not been answered?"""

    def admit(self, requests: list[Request]) -> list[RankReply]:
        """Take new requests (all kinds but the worker's own); replies to any refused at once."""

    def abort(self, request_id: str) -> None:
        """The client has gone: forget the request, if it is still known."""

    def step(self) -> list[RankReply]:
        """One unit of work."""

    def get_stats(self) -> dict[str, float]:
        """Counters for /metrics."""

    def close(self) -> None:
        """Give back what outlives a process: shared memory, temporary files."""


class Place(msgspec.Struct, frozen=True):
    """What the launcher writes to a rank's stdin, as one line of JSON."""

    args: ServerArgs
    rank: int
    runner: str
    num_threads: int
    store: str = ""
    connection_fd: int | None = None


class Inbox:
    """Rank 0's ear: a thread reads, so that the HTTP process is never blocked by a long step."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._queue: queue.SimpleQueue[Request] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def _read(self) -> None:
        try:
            while True:
                self._queue.put(self.connection.recv())
        except (EOFError, OSError):
            _die("the HTTP process has gone")

    def take(self, wait_s: float) -> list[Request]:
        """All that has arrived; waits up to `wait_s` for the first."""
        requests: list[Request] = []
        try:
            requests.append(self._queue.get(timeout=wait_s) if wait_s else self._queue.get_nowait())
            while True:
                requests.append(self._queue.get_nowait())
        except queue.Empty:
            return requests


class Worker:
    def __init__(self, runner: Runner, ranks: Any, inbox: Inbox | None, idle_s: float) -> None:
        self.runner = runner
        self.ranks = ranks
        self.inbox = inbox
        self.idle_s = idle_s
        self._stats: dict[str, float] = {}

    def run(self) -> None:
        """Until a `stop` arrives."""
        while True:
            received: list[Request] = []
            if self.inbox is not None:
                received = self.inbox.take(0.0 if self.runner.has_work else self.idle_s)
            requests = self.ranks.broadcast(received)
            if any(request.kind == "stop" for request in requests):
                return
            self._handle(requests)
            if self.runner.has_work:
                self._send(self.runner.step())
            self._send_stats()

    def _handle(self, requests: list[Request]) -> None:
        for request in requests:
            if request.kind == "ping":
                self._send([RankReply(request.id)])
        new = [request for request in requests if request.kind not in ("ping", "abort")]
        if new:
            self._send(self.runner.admit(new))
        for request in requests:
            if request.kind == "abort":
                self.runner.abort(request.id)

    def _send(self, replies: list[RankReply]) -> None:
        if self.inbox is not None and replies:
            self._send_stats()  # first, so that who has a reply finds it counted in /metrics
            for reply in replies:
                self.inbox.connection.send(reply)

    def _send_stats(self) -> None:
        if self.inbox is not None and (stats := self.runner.get_stats()) != self._stats:
            self._stats = dict(stats)
            self.inbox.connection.send(Stats(self._stats))


def _die(why: str, code: int = 1) -> None:
    """End now, from any thread: a rank inside a collective cannot be asked nicely."""
    print(f"rank ends: {why}", file=sys.stderr, flush=True)
    os._exit(code)


def _watch_parent() -> None:
    """The launcher keeps our stdin open; its end, by any death, is ours."""
    os.read(0, 1)
    _die("the launcher has gone")


def _set_up_logging(place: Place) -> None:
    logging.basicConfig(
        level=logging.WARNING,
        format=f"%(asctime)s %(levelname)s rank {place.rank}: %(message)s",
        stream=sys.stderr,
    )
    logging.getLogger("warmup").setLevel(place.args.log_level.upper())


def _read_line() -> bytes:
    """Byte by byte: a buffered reader could hold stdin's lock when the process ends."""
    line = b""
    while not line.endswith(b"\n"):
        chunk = os.read(0, 1)
        if not chunk:
            raise SystemExit("warmup.engine.worker is started by the launcher, not by hand")
        line += chunk
    return line


def _load(place: Place, ranks: Any) -> Runner | Failure:
    """The runner, or why some rank has none; all ranks answer alike."""
    runner: Runner | None = None
    failure: Failure | None = None
    try:
        runner = load(place.runner)(place.args, ranks)
    except Exception as error:
        if not isinstance(error, WarmupError):
            traceback.print_exc()
        failure = Failure("internal", str(error) or type(error).__name__)
    ranks.meet()
    agreed = ranks.agree(failure)
    if agreed is not None:
        if runner is not None:
            runner.close()
        return Failure("internal", str(agreed.message))
    assert runner is not None
    return runner


def _serve(place: Place) -> int:
    connection = Connection(place.connection_fd) if place.connection_fd is not None else None
    import torch

    from warmup.engine.ranks import Ranks

    torch.set_num_threads(place.num_threads)
    ranks = Ranks(place.args, place.rank, place.store)
    loaded = _load(place, ranks)
    if isinstance(loaded, Failure):
        if connection is not None:
            connection.send(Broken(loaded.message))
        return 1
    idle_s = min(IDLE_BEAT_S, place.args.dist_timeout / 4)
    try:
        inbox = None
        if connection is not None:
            connection.send(Ready(loaded.info))
            inbox = Inbox(connection)
        Worker(loaded, ranks, inbox, idle_s).run()
    finally:
        loaded.close()
    return 0


def main() -> None:
    # Ctrl-C reaches the whole foreground group; the launcher ends its ranks in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    place = msgspec.json.decode(_read_line(), type=Place)
    _set_up_logging(place)
    threading.Thread(target=_watch_parent, name="lifeline", daemon=True).start()
    code = 1
    try:
        code = _serve(place)
    except Exception:
        print(f"rank {place.rank} failed:", file=sys.stderr)
        traceback.print_exc()
    # Not sys.exit: a communicator whose peer is gone may block in its destructor.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
