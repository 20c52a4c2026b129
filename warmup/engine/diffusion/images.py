"""Bytes to pictures and back. Pillow does both; it is imported where a picture is met."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from warmup.engine.messages import invalid

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 64_000_000


def load_image(source: bytes | str, min_side: int = 1) -> Image:
    """An RGB picture, decoded whole. `source`: the bytes of a file, or a path of ours.

    Raises `RequestError` (field `image`) for what is no picture, is cut off, is smaller than
    `min_side` or larger than 64 million pixels, which a few bytes can claim to be.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            stream = io.BytesIO(Path(source).read_bytes() if isinstance(source, str) else source)
            with Image.open(stream) as opened:
                width, height = opened.size
                if width * height > MAX_PIXELS:
                    raise invalid(f"image of {width}x{height} has too many pixels", "image")
                picture = ImageOps.exif_transpose(opened.convert("RGB"))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise invalid(f"image has too many pixels: {error}", "image") from None
    except UnidentifiedImageError:
        raise invalid("image is in no format that can be read", "image") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise invalid(f"image cannot be decoded: {error}", "image") from None
    if min(picture.size) < min_side:
        raise invalid(f"image of {width}x{height} is smaller than {min_side} pixels", "image")
    return picture


def encode_png(picture: Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def encode_apng(frames: Sequence[Image], fps: int) -> bytes:
    """An animated PNG; every browser plays it, and the first frame is a PNG."""
    buffer = io.BytesIO()
    frames[0].save(
        buffer, "PNG", save_all=True, append_images=list(frames[1:]), duration=1000 / fps, loop=0
    )
    return buffer.getvalue()
