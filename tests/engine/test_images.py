from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from tests.engine.diffusion.reference import make_picture
from warmup.engine.images import decode, encode_apng, encode_png, open_image
from warmup.engine.messages import RequestError


def make_bomb(side: int) -> bytes:
    """A PNG header that claims `side` × `side` pixels, and next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def load_image(data: bytes, min_side: int = 1) -> Image.Image:
    return decode(open_image(data, min_side, "image"), "image")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not an image"),
        (b"hello", "not an image"),
        (make_picture()[:200], "not an image that can be read: .*truncated"),
        (make_bomb(9_000), "pixels are too many"),
        (make_bomb(60_000), "pixels are too many"),
        (make_picture(63, 64), "sides must be at least 64"),
    ],
)
def test_what_is_no_picture_is_the_users_error(data: bytes, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        load_image(data, 64)
    assert (caught.value.failure.kind, caught.value.failure.field) == ("validation", "image")


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    buffer = io.BytesIO()
    kind = "JPEG" if mode == "CMYK" else "PNG"
    Image.open(io.BytesIO(make_picture())).convert("RGB").convert(mode).save(buffer, kind)
    assert load_image(buffer.getvalue()).mode == "RGB"


def test_what_is_encoded_can_be_read_again() -> None:
    pictures = [Image.new("RGB", (20, 10), (shade, 0, 0)) for shade in (0, 100, 200)]
    assert load_image(encode_png(pictures[1])).getpixel((3, 3)) == (100, 0, 0)
    with Image.open(io.BytesIO(encode_apng(pictures, fps=16))) as opened:
        assert getattr(opened, "n_frames", 1) == 3
        opened.seek(2)
        assert opened.convert("RGB").getpixel((3, 3)) == (200, 0, 0)
        assert opened.info["duration"] == pytest.approx(1000 / 16, abs=1)
