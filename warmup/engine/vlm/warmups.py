"""What a vision-language server runs before it is READY: prefill of text, prefill of images at the
processor's smallest and default sizes, decode at batch 1 and at --max-batch; then chats over HTTP.
The first chat was three times as slow as the next while only the ranks were warm: image decoders
were still to be imported, threads to be started, routes to be entered.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

from warmup.engine.args import ServerArgs
from warmup.engine.backends import HTTP, Warmup
from warmup.engine.shm.tensors import make_inline
from warmup.engine.vlm.chat import Chat, Image, Message
from warmup.engine.vlm.generation import Generation
from warmup.engine.vlm.prompt import Prompt, Prompter
from warmup.words.errors import UsageError

TEXT = "warmup"
NUM_TOKENS = 4  # the first comes out of the prefill, the others are decoded
_FOREIGN = ("warmup_steps", "warmup_num_frames", "torch_compile")


def check_args(args: ServerArgs) -> None:
    """Raises `UsageError` for settings that only diffusion has: silence would look like consent."""
    for name in _FOREIGN:
        if getattr(args, name) not in (None, False):
            raise UsageError(f"--{name.replace('_', '-')} is for diffusion models")
    if args.cfg_parallel:
        raise UsageError("CFG parallel is for diffusion models", hint="--tp spreads this model")
    unknown = sorted(set(args.warmup_sampling_params) - {"max_tokens"})
    if unknown:
        raise UsageError(
            f"--warmup-sampling-params: {unknown[0]!r} is not known", hint="max_tokens is"
        )
    wished = args.warmup_sampling_params.get("max_tokens", 1)
    if isinstance(wished, bool) or not isinstance(wished, int) or wished < 1:
        raise UsageError("--warmup-sampling-params: max_tokens must be a whole number, 1 or more")


def plan_warmups(
    args: ServerArgs, prompter: Prompter, share: Callable[[Prompt], Any]
) -> list[Warmup]:
    """share: puts a prompt's features where the ranks find them.

    Image sizes: those of --warmup-resolutions, or else the processor's smallest and default.
    """
    smallest, default = prompter.warmup_sides
    sizes = dict.fromkeys(args.warmup_resolutions or ((smallest, smallest), (default, default)))
    num_tokens = args.warmup_sampling_params.get("max_tokens", NUM_TOKENS)

    def make(prompt: Prompt, pixels: Any, copies: int = 1) -> dict[str, Any]:
        return {
            "generation": Generation(
                prompt.ids, pixels, prompt.grids, num_tokens, ignore_eos=True, copies=copies
            )
        }

    def make_image(width: int, height: int) -> Warmup:
        prompt = _make_prompt(prompter, [(width, height)])
        # Rarely needed, so not in shared memory: they go inline.
        less = (_make_prompt(prompter, [size]) for size in _get_smaller(width, height, smallest))
        smaller = tuple(make(each, make_inline(each.pixels)) for each in less)
        name = f"image {width}x{height}"
        return Warmup(name, "generate", make(prompt, share(prompt)), smaller=smaller)

    text = _make_prompt(prompter, [])
    warmups = [Warmup("text, decode at batch 1", "generate", make(text, None))]
    warmups += [make_image(width, height) for width, height in sizes]
    if args.max_batch > 1:
        name = f"decode at batch {args.max_batch}"
        warmups.append(Warmup(name, "generate", make(text, None, args.max_batch)))
    return [
        *warmups,
        _make_chat_request(smallest, "PNG", True),
        _make_chat_request(smallest, "JPEG", False),
    ]


def _make_chat_request(side: int, file_format: str, stream: bool) -> Warmup:
    """What a user would send: the HTTP process has its own things to warm."""
    file = io.BytesIO()
    _make_image(side, side).save(file, file_format)
    kind = f"image/{file_format.lower()}"
    url = f"data:{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": TEXT}]
    body = {
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": NUM_TOKENS,
        "ignore_eos": True,
        "stream": stream,
        "temperature": 0 if stream else 0.8,
        "top_p": 0.9,
        "top_k": 40,
        "seed": 0,
    }
    name = f"chat over HTTP, {'streamed' if stream else 'whole, sampled'}"
    return Warmup(name, HTTP, {"path": "/v1/chat/completions", "body": body})


def _get_smaller(width: int, height: int, floor: int) -> list[tuple[int, int]]:
    """What to try after an out-of-memory: half the area, a quarter, an eighth; sides >= floor."""
    sizes = [(int(width * 0.5**k), int(height * 0.5**k)) for k in (0.5, 1, 1.5)]
    return [(w, h) for w, h in sizes if min(w, h) >= floor]


def _make_prompt(prompter: Prompter, sizes: list[tuple[int, int]]) -> Prompt:
    ids = prompter.tokens.encode(_make_chat(len(sizes)))
    return prompter.assemble(ids, [(_make_image(*size), "") for size in sizes])


def _make_chat(num_images: int) -> Chat:
    parts: tuple[str | Image, ...] = (*[Image("", "")] * num_images, TEXT)
    return Chat((Message("user", parts),), None, False, False, True, ())


def _make_image(width: int, height: int) -> Any:
    from PIL import Image as Pillow

    return Pillow.new("RGB", (width, height), (128, 128, 128))
