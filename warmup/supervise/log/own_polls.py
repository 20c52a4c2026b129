"""Lines of a server's access log that our own polls of its health cause.

A server that loads for ten minutes answers thousands of them; without them the tail shows what it
did meanwhile.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from warmup.version import __version__

USER_AGENT = f"warmup-ci/{__version__}"
_CLIENT = re.compile(r"\b127\.0\.0\.1:(\d+)\b")


@dataclass
class OwnPolls:
    """What tells our polls from other requests: path, and our own end of each connection."""

    path: str = ""
    _ports: set[int] = field(default_factory=set)

    def add(self, source_port: int) -> None:
        self._ports.add(source_port)

    def has_caused(self, line: str) -> bool:
        """uvicorn: `INFO:     127.0.0.1:51122 - "GET /health HTTP/1.1" 503 Service Unavailable`."""
        if not self.path or f"GET {self.path} " not in line:
            return False
        client = _CLIENT.search(line)
        return USER_AGENT in line or (client is not None and int(client[1]) in self._ports)
