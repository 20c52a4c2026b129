"""`python -m tests.state.write_schema`: write markers/marker.schema.json from the marker itself."""

from __future__ import annotations

from pathlib import Path

import msgspec

from warmup.state import canonical
from warmup.state.marker import Marker

if __name__ == "__main__":
    path = Path(__file__).parents[2] / "markers" / "marker.schema.json"
    path.write_bytes(canonical.encode_pretty(msgspec.json.schema(Marker)))
