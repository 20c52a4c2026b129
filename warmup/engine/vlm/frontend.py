"""The HTTP half of vision-language serving: chat completions, streaming and not.

Who removes an image's shared memory: the ranks, once all have opened it; this process, when the
ranks answered or died, since then none will open it any more (`_release`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from warmup.engine.args import ServerArgs
from warmup.engine.backends import Warmup
from warmup.engine.body import read_json
from warmup.engine.client import RankClient
from warmup.engine.gate import is_own
from warmup.engine.messages import RequestError, invalid
from warmup.engine.model_files import read_generation_config
from warmup.engine.shm import segment
from warmup.engine.shm.tensors import Outbox
from warmup.engine.vlm.answer import DONE, ChatCompletion, make_event
from warmup.engine.vlm.chat import Chat, parse_chat
from warmup.engine.vlm.families import check_tp, get_max_len, read_model
from warmup.engine.vlm.generation import Generation, Progress
from warmup.engine.vlm.prompt import Prompt, Prompter
from warmup.engine.vlm.tokens import TextStream
from warmup.engine.vlm.warmups import check_args, plan_warmups

log = logging.getLogger(__name__)


class VlmFrontend:
    def __init__(self, args: ServerArgs) -> None:
        check_args(args)
        _, config = read_model(Path(args.model))
        check_tp(config, args.world_size)
        self._args = args
        self._max_len = get_max_len(config, args.max_model_len)
        self._prompter = Prompter(args, config, self._max_len)
        self._default_tokens = _find_default_tokens(Path(args.model))
        self._outbox = Outbox()
        self._releases: set[asyncio.Task[None]] = set()
        self.info = {
            "architecture": config.architectures[0],
            "max_model_len": self._max_len,
            "max_batch": args.max_batch,
        }
        removed = segment.sweep()
        if removed:
            log.info("removed %d segments of shared memory that dead servers left", len(removed))

    def get_warmups(self) -> list[Warmup]:
        return plan_warmups(self._args, self._prompter, self._share)

    def close(self) -> None:
        self._prompter.close()
        self._outbox.close()

    @property
    def model_card(self) -> dict[str, Any]:
        return {"max_model_len": self._max_len}

    def add_routes(self, app: FastAPI, client: RankClient) -> None:
        @app.post("/v1/chat/completions")
        async def chat_completions(request: Request) -> Response:
            chat = parse_chat(await read_json(request))
            return await self._complete(client, request, chat)

    async def _complete(self, client: RankClient, request: Request, chat: Chat) -> Response:
        prompt = await self._prompter.prepare(chat)
        wanted = self._make_generation(chat, prompt)

        async def run_copy() -> None:
            copy = replace(wanted, pixels=self._share(prompt))
            await client.call("generate", {"generation": copy}, warmup=True)

        is_warmup = is_own(request.scope)
        if not is_warmup:
            await client.warm_first(run_copy)
        answer = ChatCompletion(self._args.model_name, len(prompt.ids))
        shared = replace(wanted, pixels=self._share(prompt))
        pieces = self._run(client, chat, shared, is_warmup)
        if not chat.stream:
            return await _unless_gone(request, _collect(answer, pieces))
        # The first piece is waited for here, so that what fails at once has a status of its own.
        first = await _unless_gone(request, anext(pieces))
        if isinstance(first, Response):
            return first
        events = _make_events(answer, chat, first, pieces)
        return StreamingResponse(events, media_type="text/event-stream")

    def _make_generation(self, chat: Chat, prompt: Prompt) -> Generation:
        room = self._max_len - len(prompt.ids)
        max_tokens = chat.max_tokens or min(self._default_tokens or room, room)
        if max_tokens > room:
            raise invalid(
                f"max_tokens {max_tokens} and a prompt of {len(prompt.ids)} tokens exceed the"
                f" model's {self._max_len}",
                "max_tokens",
            )
        return Generation(
            prompt.ids,
            None,
            prompt.grids,
            max_tokens,
            chat.ignore_eos,
            sampling=chat.sampling,
        )

    def _share(self, prompt: Prompt) -> Any:
        return None if prompt.pixels is None else self._outbox.share(prompt.pixels)

    async def _run(
        self, client: RankClient, chat: Chat, wanted: Generation, is_warmup: bool
    ) -> AsyncGenerator[tuple[str, str | None], None]:
        """(text, finish) pieces, one per token; the last has a finish. Closing it aborts."""
        text = TextStream(self._prompter.tokens, chat.stop)
        is_answered = False
        try:
            async with contextlib.aclosing(
                client.stream("generate", {"generation": wanted}, warmup=is_warmup)
            ) as replies:
                async for reply in replies:
                    assert isinstance(reply, Progress)
                    piece = "" if reply.token is None else text.add(reply.token)
                    if reply.finish is not None:
                        is_answered = True
                        piece += text.finish()
                    finish = "stop" if text.is_stopped else reply.finish
                    yield piece, finish
                    if finish is not None:
                        return
        except RequestError as error:
            is_answered = error.failure.kind != "timeout"
            raise
        finally:
            self._release(client, wanted, is_answered)

    def _release(self, client: RankClient, wanted: Generation, is_answered: bool) -> None:
        """Remove what the ranks may have left; not before they can have opened it.

        An aborted request may still be on its way to them. They take messages in order, so once
        a ping that was sent after it is answered, it has been opened.
        """
        if is_answered or wanted.pixels is None:
            self._outbox.discard(wanted)
            return

        async def release_later() -> None:
            with contextlib.suppress(RequestError):  # the ranks are gone: nobody will open it
                await client.call("ping")
            self._outbox.discard(wanted)

        task = asyncio.ensure_future(release_later())
        self._releases.add(task)
        task.add_done_callback(self._releases.discard)


async def _collect(
    answer: ChatCompletion, pieces: AsyncGenerator[tuple[str, str | None], None]
) -> Response:
    async with contextlib.aclosing(pieces):
        whole = [piece async for piece in pieces]
    text = "".join(piece for piece, _ in whole)
    return JSONResponse(answer.make_whole(text, whole[-1][1], len(whole)))


async def _make_events(
    answer: ChatCompletion,
    chat: Chat,
    first: tuple[str, str | None],
    pieces: AsyncGenerator[tuple[str, str | None], None],
) -> AsyncGenerator[bytes, None]:
    """Starlette closes it when the client has gone, which aborts the request."""
    async with contextlib.aclosing(pieces):
        yield answer.make_chunk()
        num_tokens = 1
        text, finish = first
        try:
            while True:
                if text:
                    yield answer.make_chunk(text)
                if finish is not None:
                    break
                text, finish = await anext(pieces)
                num_tokens += 1
        except RequestError as error:
            # The status line is long gone: an event tells.
            failure = error.failure
            yield make_event({"error": {"message": failure.message, "type": failure.kind}})
            return
        yield answer.make_chunk(finish=finish)
        if chat.include_usage:
            yield answer.make_usage_chunk(num_tokens)
        yield DONE


async def _unless_gone(request: Request, work: Awaitable[Any]) -> Any:
    """The result of `work`, which is cancelled when the client hangs up."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_wait_until_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return Response(status_code=499)  # nobody reads it; the log's word for it, after nginx
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _find_default_tokens(folder: Path) -> int | None:
    """How long an answer is where the request does not say: generation_config.json's word."""
    found = read_generation_config(folder).get("max_new_tokens")
    return found if isinstance(found, int) and found > 0 else None


def make_frontend(args: ServerArgs) -> VlmFrontend:
    return VlmFrontend(args)
