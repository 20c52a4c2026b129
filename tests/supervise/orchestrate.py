"""An orchestrator of one server, to be killed by tests; argv: RUN_DIR GRACE_S COMMAND …

Exit status: the cancellation's, or 0 when the server ended by itself.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from warmup.supervise.tree.supervisor import Supervisor
from warmup.words.errors import Cancelled


def main() -> int:
    run_dir, grace_s, argv = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    with Supervisor(run_dir, warn=print) as supervisor:
        server = supervisor.start(
            argv, env=dict(os.environ), cwd=run_dir, log_path=run_dir / "server.log"
        )
        try:
            while server.find_exit() is None:
                supervisor.wait(60)
                supervisor.check_cancelled()
        except Cancelled as cancelled:
            return cancelled.exit_status
        finally:
            server.stop(grace_s)
    return 0


if __name__ == "__main__":
    sys.exit(main())
