"""A request's head may be neither endless nor endlessly long in coming."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from uvicorn import Config, Server

from orchestrator.supervisor.http import MOST_HEAD, BoundedHead

Place = tuple[str, int]


class Impatient(BoundedHead):
    head_within_s = 0.2


async def hello(scope, receive, send):  # type: ignore[no-untyped-def]
    """Answers after a while, so that a deadline left armed would show."""
    assert scope["type"] == "http"
    await asyncio.sleep(0.5)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    config = Config(hello, host="127.0.0.1", port=0, http=Impatient, lifespan="off", log_config=None)
    server = Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server.servers[0].sockets[0].getsockname()[:2]
    await server.shutdown()


async def test_a_slow_answer_is_no_slow_head(place: Place) -> None:
    assert (await say(place, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).endswith(b"hello")


async def test_a_head_in_two_pieces_is_read(place: Place) -> None:
    assert (await say(place, b"GET / HTTP/1.1\r\nhost: a\r\n", b"connection: close\r\n\r\n")).endswith(b"hello")


@pytest.mark.parametrize("head", [b"", b"\r\n", b"GET / HT", b"GET / HTTP/1.1\r\nhost: a\r\n"])
async def test_a_head_that_does_not_end_is_refused(place: Place, head: bytes) -> None:
    assert (await say(place, head)).startswith(b"HTTP/1.1 408 ")


async def test_a_second_head_has_its_deadline_too(place: Place) -> None:
    answer = await say(place, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", b"GET / HTTP/1.1\r\nhost", pause_s=0.8)
    assert answer.endswith(b"hello" + b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")


async def test_a_head_without_end_is_refused_early(place: Place) -> None:
    answer = await say(place, b"GET / HTTP/1.1\r\n", *[b"x: " + b"y" * 8000 + b"\r\n"] * (MOST_HEAD // 8000 + 1))
    assert answer.startswith(b"HTTP/1.1 431 ")


async def say(place: Place, *pieces: bytes, pause_s: float = 0.005) -> bytes:
    """All that comes back until the server hangs up."""
    reader, writer = await asyncio.open_connection(*place)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)  # so that the server sees it as a piece of its own
        return await asyncio.wait_for(reader.read(-1), 10)
    finally:
        writer.close()
