"""The picture that warm-up requests carry."""

from __future__ import annotations

import base64
import struct
import zlib


def make_image_url(width: int = 256, height: int = 256) -> str:
    """A grey PNG as a data URL, sizes in pixels.

    256 × 256, because an image under 64 px made FLUX.2's processor fail (sglang#28184), and 64 × 64
    is unrepresentative (sglang#28119).
    """
    rows = (b"\x00" + b"\x80\x80\x80" * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        _make_chunk(kind, data)
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _make_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum
