"""From a chat to what the ranks take: token ids with image placeholders, patches, sizes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmup.engine.args import ServerArgs
from warmup.engine.images import check_pixels, decode, open_image
from warmup.engine.messages import RequestError, invalid
from warmup.engine.vlm.chat import Chat
from warmup.engine.vlm.generation import Grid, get_num_tokens
from warmup.engine.vlm.media import read_files
from warmup.engine.vlm.remote import RemoteMedia
from warmup.engine.vlm.tokens import ByteTokens, FolderTokens, Tokens
from warmup.words.errors import UsageError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    OpenedImage = tuple[Image, str]  # and the field that named it

MAX_ASPECT = 200  # as transformers' smart_resize (qwen2_vl) has it


@dataclass(frozen=True)
class Prompt:
    """pixels: (patches, values) of all images; None without. grids: as `Generation` has them."""

    ids: list[int]
    pixels: torch.Tensor | None
    grids: list[Grid]


class Prompter:
    """Tokenizer and image processor of one model folder. Safe to use from several threads.

    Raises `UsageError` when made for a folder whose files do not work.
    """

    def __init__(self, args: ServerArgs, config: Any, max_len: int) -> None:
        folder = Path(args.model)
        self._args = args
        self._remote = RemoteMedia()
        self._max_len = max_len
        self._image_token = config.image_token_id
        self.tokens: Tokens = _make_tokens(folder, args, config)
        self._processor = _make_processor(folder, args)
        self.merge = int(self._processor.merge_size)
        self.patch = int(self._processor.patch_size)

    async def prepare(self, chat: Chat) -> Prompt:
        """Off the event loop, but for the waiting. Raises `RequestError`."""
        if chat.num_text_bytes > self._max_len * self.tokens.longest_bytes:
            raise self._too_long("more than")
        files = await read_files(chat.images, self._args, self._remote)
        return await asyncio.to_thread(self._prepare, chat, files)

    def _prepare(self, chat: Chat, files: list[bytes]) -> Prompt:
        images = [
            (open_image(data, self.patch, image.field), image.field)
            for image, data in zip(chat.images, files, strict=True)
        ]
        return self.assemble(self.tokens.encode(chat), images)

    def assemble(self, ids: list[int], images: Sequence[OpenedImage]) -> Prompt:
        """ids: one placeholder per image. Raises `RequestError` if it does not fit the model.

        All is counted, from sizes alone, before the first pixel is unpacked; and then only one
        image at a time is held unpacked.
        """
        if ids.count(self._image_token) != len(images):
            raise invalid("text may not hold the model's image placeholder", "messages")
        num_tokens = len(ids) + sum(self._count_tokens(*each) - 1 for each in images)
        if num_tokens >= self._max_len:
            raise self._too_long(str(num_tokens))
        check_pixels(sum(image.width * image.height for image, _ in images), "messages")
        pixels, grids = self._process(images) if images else (None, [])
        sizes = iter(get_num_tokens(grid, self.merge) for grid in grids)
        expanded: list[int] = []
        for token in ids:
            expanded += [token] * (next(sizes) if token == self._image_token else 1)
        return Prompt(expanded, pixels, grids)

    def _count_tokens(self, image: Image, field: str) -> int:
        width, height = image.size
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise invalid(
                f"the image is {width}x{height} pixels: one side may be at most {MAX_ASPECT} times"
                " the other",
                field,
            )
        patches: int = self._processor.get_number_of_image_patches(height, width)
        return patches // self.merge**2

    def _process(self, images: Sequence[OpenedImage]) -> tuple[torch.Tensor, list[Grid]]:
        import torch

        done = [self._processor([decode(*each)], return_tensors="pt") for each in images]
        grids = [(t, h, w) for each in done for t, h, w in each["image_grid_thw"].tolist()]
        return torch.cat([each["pixel_values"] for each in done]), grids

    def _too_long(self, count: str) -> RequestError:
        limit = f"the model takes {self._max_len} with the answer"
        return invalid(f"the prompt is {count} {self._max_len} tokens long; {limit}", "messages")

    def close(self) -> None:
        self._remote.close()

    @property
    def warmup_sides(self) -> tuple[int, int]:
        """Sides in pixels of square images at the processor's smallest and default size.

        Default is its class's own largest area (28·28·1280 pixels in transformers 5.23), where the
        folder allows that much and the model has room for its tokens.
        """
        unit = self.patch * self.merge
        size = self._processor.size
        default_area = min(size["longest_edge"], type(self._processor).size["longest_edge"])
        room = self._max_len - 64  # of tokens, beside the text of a warm-up
        smallest = math.ceil(math.sqrt(size["shortest_edge"]) / unit)
        default = min(math.isqrt(default_area) // unit, math.isqrt(max(room, 1)))
        return smallest * unit, max(default, smallest) * unit


def _make_tokens(folder: Path, args: ServerArgs, config: Any) -> Tokens:
    has_one = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json"))
    if args.load_format == "dummy" and not has_one:
        return ByteTokens(config.image_token_id)
    return FolderTokens(folder)


def _make_processor(folder: Path, args: ServerArgs) -> Any:
    """The class that needs no torchvision; a dummy model may do without the folder's settings."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    path = folder / "preprocessor_config.json"
    if args.load_format == "dummy" and not path.is_file():
        return Qwen2VLImageProcessorPil()
    try:
        return Qwen2VLImageProcessorPil.from_pretrained(folder)
    except Exception as error:  # of many kinds: missing or broken files, odd values
        reason = str(error).strip().splitlines()
        raise UsageError(
            f"{path} cannot be used", cause=reason[0] if reason else type(error).__name__
        ) from error
