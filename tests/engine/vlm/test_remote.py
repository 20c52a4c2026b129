"""Images from addresses that somebody else chose."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from warmup.engine.messages import RequestError
from warmup.engine.vlm.remote import RemoteMedia, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "0.0.0.0",
        "100.100.100.200", "168.63.129.16", "224.0.0.1", "255.255.255.255", "::1", "::",
        "fe80::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "ff02::1",
    ],
)  # fmt: skip
def test_what_is_not_out_there(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_what_is(address: str) -> None:
    assert is_public(address)


def fetch(media: RemoteMedia, url: str) -> bytes:
    async def main() -> bytes:
        return await media.fetch(url, "url", time.monotonic() + media.deadline_s)

    return asyncio.run(main())


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0"]
)
def test_this_host_is_not_even_connected_to(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        with pytest.raises(RequestError, match="not a public address") as caught:
            fetch(RemoteMedia(), f"http://{host}:{port}/image.png")
        assert (caught.value.failure.kind, caught.value.failure.field) == ("validation", "url")
        with pytest.raises(BlockingIOError):
            listener.accept()


@contextlib.contextmanager
def answer_with(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of a server that does `answer` to each connection until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(stream: socket.socket) -> None:
            with stream, contextlib.suppress(OSError):
                stream.recv(65536)
                answer(stream)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],)).start()

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/a.png?b"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def anyone(_address: str) -> bool:
    return True


def test_an_image_is_fetched() -> None:
    def answer(stream: socket.socket) -> None:
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")

    with answer_with(answer) as url:
        assert fetch(RemoteMedia(is_allowed=anyone), url) == b"abc"


def test_a_redirect_leads_nowhere() -> None:
    def answer(stream: socket.socket) -> None:
        stream.sendall(b"HTTP/1.1 302 F\r\nLocation: http://localhost/\r\n\r\n")

    with answer_with(answer) as url, pytest.raises(RequestError, match="answers 302"):
        fetch(RemoteMedia(is_allowed=anyone), url)


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n",
              b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"]
)  # fmt: skip
def test_who_drips_is_cut_and_holds_up_nobody_else(start: bytes) -> None:
    """Twelve at once, three times the threads: the loop's own pool stays free, and all end."""
    media = RemoteMedia(deadline_s=1.0, is_allowed=anyone)

    def answer(stream: socket.socket) -> None:
        stream.sendall(start)
        while True:
            stream.sendall(b"x")
            time.sleep(0.02)

    async def main(url: str) -> list[object]:
        until = time.monotonic() + media.deadline_s
        fetches = [asyncio.ensure_future(media.fetch(url, "url", until)) for _ in range(12)]
        await asyncio.sleep(0)
        assert await asyncio.to_thread(lambda: 7) == 7
        assert not any(each.done() for each in fetches)
        return await asyncio.gather(*fetches, return_exceptions=True)

    with answer_with(answer) as url:
        results = asyncio.run(main(url))
        media.close()
        media._threads.shutdown(wait=True)  # every thread has come back
    assert {str(each) for each in results} == {"the image URL did not answer within 1 s"}
