"""Images out of `image_url` parts: data URLs, local files under an allowed root, remote ones if
allowed. Every way to be no image is the user's error, found before pixels are unpacked.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from warmup.engine.args import ServerArgs
from warmup.engine.messages import invalid

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_FILE_BYTES = 32 << 20
MAX_PIXELS = 64_000_000
MAX_ASPECT = 200  # as transformers' smart_resize (qwen2_vl) has it
REMOTE_TIMEOUT_S = 10.0


def load_image(url: str, args: ServerArgs, min_side: int, field: str) -> Image:
    """The RGB image of `url`. min_side: in pixels. Raises `RequestError` naming `field`."""
    return decode_image(_read(url, args, field), min_side, field)


def decode_image(data: bytes, min_side: int, field: str) -> Image:
    """RGB pixels of a file's bytes; raises `RequestError` for what is none or has odd sizes."""
    from PIL import Image

    # Our own limit stands in for Pillow's, which only warns at first.
    Image.MAX_IMAGE_PIXELS = None
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        problem = _find_size_problem(image.width, image.height, min_side)
        if problem is None:
            return image.convert("RGB")
    except Exception as error:  # Pillow's decoders raise nearly every kind for broken files
        reason = str(error) or type(error).__name__
        raise invalid(f"not an image that can be read: {reason}", field) from None
    raise invalid(problem, field)


def _find_size_problem(width: int, height: int, min_side: int) -> str | None:
    size = f"the image is {width}x{height} pixels"
    if min(width, height) < min_side:
        return f"{size}: its sides must be at least {min_side}"
    if width * height > MAX_PIXELS:
        return f"{size}: at most {MAX_PIXELS} in all are taken"
    if max(width, height) > MAX_ASPECT * min(width, height):
        return f"{size}: one side may be at most {MAX_ASPECT} times the other"
    return None


def _read(url: str, args: ServerArgs, field: str) -> bytes:
    if url.startswith("data:"):
        return _read_data_url(url, field)
    if url.startswith(("http://", "https://")):
        if not args.allow_remote_media:
            raise invalid("remote images are refused by this server: send a data URL", field)
        return _fetch(url, field)
    if url.startswith(("file://", "/")):
        path = unquote(urlsplit(url).path) if url.startswith("file://") else url
        return _read_file(path, args.allowed_media_root, field)
    raise invalid("the image URL is neither a data URL, nor a file's, nor http(s)", field)


def _read_data_url(url: str, field: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma or not head.endswith(";base64"):
        raise invalid("the data URL is not of the form data:image/...;base64,...", field)
    if len(body) > MAX_FILE_BYTES * 4 // 3 + 4:
        raise _too_large(field)
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"the data URL is not base64: {error}", field) from None


def _read_file(path: str, root: str, field: str) -> bytes:
    """Links are followed before the root is looked for, so none leads out of it."""
    if not root:
        raise invalid("local images are refused by this server: it has no allowed root", field)
    try:
        real = Path(os.path.realpath(path, strict=True))
        if not real.is_relative_to(os.path.realpath(root)):
            raise invalid("the file is not under the server's allowed root", field)
        # Opened without waiting, since a FIFO under the root would never answer.
        fd = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor, no path
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise invalid("the file is no regular file", field)
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise invalid(f"the file cannot be read: {reason}", field) from None
    return _check_size(data, field)


def _fetch(url: str, field: str) -> bytes:
    """Redirects are not followed: one could lead where the URL that was allowed does not."""
    import requests

    try:
        with requests.get(
            url, timeout=REMOTE_TIMEOUT_S, stream=True, allow_redirects=False
        ) as answer:
            if answer.status_code != 200:
                raise invalid(f"the image URL answers {answer.status_code}", field)
            data = answer.raw.read(MAX_FILE_BYTES + 1, decode_content=True)
    except requests.RequestException as error:
        raise invalid(f"the image cannot be fetched: {type(error).__name__}", field) from None
    return _check_size(data, field)


def _check_size(data: bytes, field: str) -> bytes:
    if len(data) > MAX_FILE_BYTES:
        raise _too_large(field)
    return data


def _too_large(field: str) -> Exception:
    return invalid(f"the image file is larger than {MAX_FILE_BYTES >> 20} MiB", field)
