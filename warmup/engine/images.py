"""Images in and out, for every backend: base64, headers first, pixels after, PNG.

A few bytes can claim many pixels, so sizes are read and judged (`open_image`) before any pixel is
unpacked (`decode`). Every way to be no image is the user's error, and names the field.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from warmup.engine.messages import RequestError, invalid

if TYPE_CHECKING:
    from PIL.Image import Image

# Those that Pillow reads by itself; for others it starts programs (EPS) or trusts old decoders.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_PIXELS = 64_000_000  # of all images of one request together


def decode_base64(text: str, field: str) -> bytes:
    """Raises `RequestError` naming `field`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"the image is not valid base64: {error}", field) from None


def get_data_url_text(url: str, field: str) -> str:
    """The base64 of `data:…;base64,…`. Raises `RequestError` naming `field`."""
    head, comma, text = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise invalid("the data URL is not of the form data:image/...;base64,...", field)
    return text


def open_image(data: bytes, min_side: int, field: str) -> Image:
    """An image whose header has been read and whose pixels have not.

    min_side: in pixels. Raises `RequestError` naming `field`, for more than 64 million pixels too.
    """
    from PIL import Image

    # Our own limit stands in for Pillow's, which only warns at first.
    Image.MAX_IMAGE_PIXELS = None
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:  # Pillow's readers raise nearly every kind for broken files
        raise _unreadable(error, field) from None
    size = f"the image is {image.width}x{image.height} pixels"
    if min(image.size) < min_side:
        raise invalid(f"{size}: its sides must be at least {min_side}", field)
    check_pixels(image.width * image.height, field)
    return image


def check_pixels(num_pixels: int, field: str) -> None:
    """Raises `RequestError` for more pixels than one request may bring."""
    if num_pixels > MAX_PIXELS:
        raise invalid(
            f"{num_pixels} pixels are too many: one request may bring {MAX_PIXELS}", field
        )


def decode(image: Image, field: str) -> Image:
    """RGB pixels of what `open_image` opened. Raises `RequestError` naming `field`."""
    try:
        return image.convert("RGB")
    except Exception as error:  # as above: truncated and broken data
        raise _unreadable(error, field) from None


def _unreadable(error: Exception, field: str) -> RequestError:
    reason = str(error) or type(error).__name__
    return invalid(f"not an image that can be read: {reason}", field)


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
