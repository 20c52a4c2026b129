"""The image of a warm-up request: made once per group, by its first rank, for all of them.

Ranks that wrote one file at once read each other's halves: `cannot identify image file
'outputs/uploads/warmup_image.jpg.jpg'` (sglang's diffusion server). Here the file is complete, and
has been decoded again, before its name exists.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from warmup.engine.messages import Failure, RequestError

if TYPE_CHECKING:
    from warmup.engine.ranks import Ranks

# 64 is the least that every image processor of the families takes (sglang#28184).
MIN_SIDE = 64


def make_warmup_image(ranks: Ranks, folder: str, width: int, height: int) -> str:
    """The path of a PNG of at least 64×64, the same on every rank; every rank must call it.

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


def _draw(width: int, height: int) -> Image.Image:  # type: ignore[name-defined]  # noqa: F821
    """A gradient: no two regions alike, so that nothing downstream degenerates."""
    from PIL import Image

    red = Image.linear_gradient("L").resize((width, height))
    green = red.rotate(90).resize((width, height))
    return Image.merge("RGB", (red, green, Image.radial_gradient("L").resize((width, height))))
