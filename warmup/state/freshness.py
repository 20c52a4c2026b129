"""Is this launch warm? The marker, the version vector and the cache, held against each other.

A marker is trusted only if its checksum holds, its vector equals the present one and its manifest
still stands (design.md section 5). Everything else is cold, with the reason.
"""

from __future__ import annotations
