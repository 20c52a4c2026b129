"""Which segments of shared memory a process's descendants make; a process of its own.

argv: PID. Writes a line once it watches; (device, inode) of each, as JSON, when stdin is closed.
"""

from __future__ import annotations

import json
import select
import sys

from warmup.supervise.tree import proc
from warmup.supervise.tree.segments import LeakWatch

_LOOK_S = 0.1


def main() -> None:
    root, segments = int(sys.argv[1]), LeakWatch()
    print(flush=True)
    while not select.select([sys.stdin], [], [], _LOOK_S)[0]:
        segments.look(lambda: proc.list_descendants(root), is_due=True)
    segments.look(lambda: proc.list_descendants(root), is_due=True)
    print(json.dumps(sorted(segments.seen)))


if __name__ == "__main__":
    main()
