"""`python -m warmup.engine.serve`: one server, from its arguments to its end.

Order: arguments → ranks → HTTP up (LIVE) → liveness probe of itself → warm-up (WARMING) → READY.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import sys

from warmup.engine import flags
from warmup.engine.args import ServerArgs
from warmup.engine.backends import get_backend
from warmup.words.errors import EXIT_OK, HostError, WarmupError

_log = logging.getLogger("warmup.engine")


def main(argv: list[str]) -> int:
    """Serve until a signal (128 + its number) or a failed start (1); `--make-tiny` just makes."""
    try:
        args, tiny = flags.parse(argv)
        if tiny is not None:
            return _make_tiny(*tiny, as_json=args.json)
        return _serve(args)
    except WarmupError as error:
        print(error.render(), file=sys.stderr)
        return error.exit_status


def _make_tiny(family: str, folder: str, as_json: bool) -> int:
    from warmup.engine.tiny.make import make_tiny

    path = make_tiny(family, folder)
    document = {"schema": 1, "family": family, "path": str(path)}
    print(json.dumps(document) if as_json else path)
    return EXIT_OK


def _serve(args: ServerArgs) -> int:
    _set_up_logging(args)
    backend = get_backend(args.model)
    frontend = backend.make_frontend(args)
    with contextlib.closing(frontend), contextlib.closing(_bind(args)) as listener:
        from warmup.engine.orphans import adopt_orphans, end_orphans
        from warmup.engine.server import EngineServer

        adopt_orphans()
        try:
            return asyncio.run(EngineServer(args, backend, frontend, listener).run())
        finally:
            end_orphans()


def _set_up_logging(args: ServerArgs) -> None:
    logging.basicConfig(
        level=args.log_level.upper(),
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    # Its start and stop say nothing that our own lines don't.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    if args.disagg_role is not None and args.mode == "off" and args.warmup is not False:
        _log.warning("--disagg-role %s: no server warm-up", args.disagg_role)


def _bind(args: ServerArgs) -> socket.socket:
    """Bound before any model is loaded, listening only when HTTP is up."""
    family = socket.AF_INET6 if ":" in args.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((args.host, args.port))
    except OSError as error:
        listener.close()
        raise HostError(
            f"cannot listen on {args.host}:{args.port}", cause=str(error), hint="--port 0"
        ) from None
    return listener


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
