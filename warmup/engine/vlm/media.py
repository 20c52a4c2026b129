"""The files that `image_url` parts name: in the URL itself, under an allowed root, or remote."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from warmup.engine.args import ServerArgs
from warmup.engine.images import decode_base64, get_data_url_text
from warmup.engine.messages import RequestError, invalid
from warmup.engine.vlm.chat import Image
from warmup.engine.vlm.remote import MAX_FILE_BYTES, RemoteMedia
from warmup.words.files import read_regular

MAX_IMAGES = 64
MAX_BYTES = 64 << 20  # of all images of one request


async def read_files(images: Sequence[Image], args: ServerArgs, remote: RemoteMedia) -> list[bytes]:
    """The bytes of each image's file, whatever they are. Raises `RequestError` naming the field."""
    if len(images) > MAX_IMAGES:
        raise invalid(
            f"{len(images)} images are too many: one request may bring {MAX_IMAGES}", "messages"
        )
    until = time.monotonic() + remote.deadline_s
    files: list[bytes] = []
    for image in images:
        url, field = image.url, image.field
        if url.startswith(("http://", "https://")):
            if not args.allow_remote_media:
                raise invalid("remote images are refused by this server: send a data URL", field)
            data = await remote.fetch(url, field, until)
        else:
            data = await asyncio.to_thread(_read, url, args.allowed_media_root, field)
        if len(data) > MAX_FILE_BYTES:
            raise _too_large(field)
        files.append(data)
        if sum(map(len, files)) > MAX_BYTES:
            raise invalid(f"the image files are together larger than {MAX_BYTES >> 20} MiB", field)
    return files


def _read(url: str, root: str, field: str) -> bytes:
    if url.startswith("data:"):
        text = get_data_url_text(url, field)
        if len(text) > MAX_FILE_BYTES * 4 // 3 + 4:
            raise _too_large(field)
        return decode_base64(text, field)
    if url.startswith(("file://", "/")):
        path = unquote(urlsplit(url).path) if url.startswith("file://") else url
        return _read_file(path, root, field)
    raise invalid("the image URL is neither a data URL, nor a file's, nor http(s)", field)


def _read_file(path: str, root: str, field: str) -> bytes:
    """Links are followed before the root is looked for, so none leads out of it."""
    if not root:
        raise invalid("local images are refused by this server: it has no allowed root", field)
    try:
        real = Path(os.path.realpath(path, strict=True))
        if not real.is_relative_to(os.path.realpath(root)):
            raise invalid("the file is not under the server's allowed root", field)
        return read_regular(real, MAX_FILE_BYTES)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.EFBIG:
            raise _too_large(field) from None
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise invalid(f"the file cannot be read: {reason}", field) from None


def _too_large(field: str) -> RequestError:
    return invalid(f"the image file is larger than {MAX_FILE_BYTES >> 20} MiB", field)
