"""A leader with NUM children that do nothing; argv: READY_FILE NUM."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

for _ in range(int(sys.argv[2])):
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()
Path(sys.argv[1]).write_text("ready")
while True:
    signal.pause()
