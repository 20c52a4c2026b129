"""The engine's server over the toy backend: `python -m tests.engine.toy_server --model DIR …`."""

from __future__ import annotations

import sys
from unittest import mock

from tests.engine.toy_backend import TOY
from warmup.engine import serve


def main() -> int:
    with mock.patch.object(serve, "get_backend", return_value=TOY):
        return serve.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
