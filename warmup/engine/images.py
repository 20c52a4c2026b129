"""Images in and out, for every backend: base64, headers first, pixels after, PNG; the image
of a warm-up request.

A few bytes can claim many pixels, so sizes are read and judged (`open_image`) before any pixel is
unpacked (`decode`). Whatever is not an image is the user's error, and names the field.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from warmup.engine.messages import Failure, RequestError, invalid

if TYPE_CHECKING:
    from PIL.Image import Image

    from warmup.engine.ranks import Ranks

# Those that Pillow reads by itself; for others it starts programs (EPS) or trusts old decoders.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_PIXELS = 64_000_000  # of all images of one request together
MIN_SIDE = 64  # the least that every image processor of the families takes (sglang#28184)


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


def make_warmup_image(ranks: Ranks, folder: str, width: int, height: int) -> str:
    """The path of a PNG of at least 64×64, the same on every rank; every rank must call it.

    Ranks that wrote one file at once read each other's halves: `cannot identify image file
    'outputs/uploads/warmup_image.jpg.jpg'` (sglang's diffusion server). Here the first rank writes,
    and the file is complete, and has been decoded again, before its name exists.
    Raises the same `RequestError` on every rank if the first cannot make it.
    """
    made: tuple[str | None, str] = (None, "")
    if ranks.is_first:
        try:
            path = write_image(Path(folder), max(width, MIN_SIDE), max(height, MIN_SIDE))
            made = (str(path), "")
        except Exception as error:  # whatever it is, the others wait to hear of it
            made = (None, f"cannot make the warm-up image in {folder}: {error}")
    path_text, problem = ranks.broadcast(made)
    if path_text is None:
        raise RequestError(Failure("internal", problem))
    return str(path_text)


def write_image(folder: Path, width: int, height: int) -> Path:
    """Write, decode again, rename. Raises OSError."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"warmup_image_{width}x{height}.png"
    descriptor, temporary = tempfile.mkstemp(prefix=".warmup_image_", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            _draw(width, height).save(stream, "PNG")
        with Image.open(temporary) as again:
            again.load()
            if again.size != (width, height):
                raise OSError(f"wrote {width}x{height}, read {again.size}")
        # mkstemp's 0600 would shut out ranks under another user.
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _draw(width: int, height: int) -> Image:
    """A gradient: no two regions alike, so that nothing downstream degenerates."""
    from PIL import Image

    red = Image.linear_gradient("L").resize((width, height))
    green = red.rotate(90).resize((width, height))
    return Image.merge("RGB", (red, green, Image.radial_gradient("L").resize((width, height))))
