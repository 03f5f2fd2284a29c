"""Callers may be neither too many nor take nothing for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from orchestrator.supervisor.connections import TOLD, BoundedConnection
from tests.supervisor.serving import Place, serving

MUCH = 64 * 1024**2  # more than any kernel takes in for a caller
ASK = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


class Few(BoundedConnection):
    most_connections = 2
    send_within_s = 0.05
    lost: list[object]

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.lost.append(self)


async def much(scope: Any, receive: Any, send: Any) -> None:
    """Answers at length to /much, else shortly."""
    body = b"x" * (MUCH if scope["path"] == "/much" else 5)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    Few.lost, Few._is_full = [], False
    async with serving(much, Few) as place:
        yield place


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """The head of an answer."""
    writer.write(ASK)
    async with asyncio.timeout(60):
        return await reader.readuntil(b"\r\n\r\n")


async def gone(count: int) -> None:
    """The server has lost so many connections."""
    async with asyncio.timeout(60):
        while len(Few.lost) < count:
            await asyncio.sleep(0.01)


async def test_one_connection_too_many_is_told_so_and_later_ones_are_taken_again(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    taken = [await asyncio.open_connection(*place) for _ in range(2)]
    for streams in taken:
        assert (await ask(*streams)).startswith(b"HTTP/1.1 200 ")
    for _ in range(3):
        refused = await asyncio.open_connection(*place)
        head = await ask(*refused)
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in head
        assert b"try again" in await refused[0].read()
        refused[1].close()
    for _, writer in taken:
        writer.close()
    await gone(5)
    reader, writer = await asyncio.open_connection(*place)
    assert (await ask(reader, writer)).startswith(b"HTTP/1.1 200 ")
    writer.close()
    told = [record.getMessage() for record in caplog.records if record.name.startswith("orchestrator")]
    assert told == ["2 connections are open; more are refused", "connections are taken again"]


async def test_far_too_many_just_see_their_connection_closed(place: Place) -> None:
    idle = [await asyncio.open_connection(*place) for _ in range(2 + TOLD)]
    reader, writer = await asyncio.open_connection(*place)
    async with asyncio.timeout(60):
        with suppress(ConnectionResetError):  # it may look so or so
            assert await reader.read() == b""
    writer.close()
    for _, other in idle:
        other.close()


@pytest.mark.parametrize("is_closing", [False, True])
async def test_a_caller_who_takes_nothing_is_given_up(place: Place, *, is_closing: bool) -> None:
    _, writer = await asyncio.open_connection(*place, limit=1)
    writer.write(b"GET /much HTTP/1.1\r\nhost: a\r\n" + (b"connection: close\r\n" if is_closing else b"") + b"\r\n")
    await gone(1)
    writer.close()


class Reader:
    """A transport whose far end takes what the test says, and the loop whose time it is."""

    def __init__(self) -> None:
        self.left = 0
        self.is_aborted = False
        self.due: list[tuple[Any, tuple[Any, ...]]] = []
        self.protocol: Any = None

    def call_later(self, delay: float, callback: Any, *args: Any) -> asyncio.TimerHandle:
        self.due.append((callback, args))
        return asyncio.TimerHandle(0, callback, args, asyncio.get_running_loop())

    def get_write_buffer_size(self) -> int:
        return self.left

    def get_protocol(self) -> Any:
        return self.protocol

    def abort(self) -> None:
        self.is_aborted = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def time_passes(self) -> None:
        due, self.due = self.due, []
        for callback, args in due:
            callback(*args)


@pytest.fixture
async def reader() -> Reader:
    reader = Reader()
    config = Config(much, lifespan="off", log_config=None)
    config.load()
    reader.protocol = BoundedConnection(config, ServerState(), {}, _loop=reader)
    reader.protocol.connection_made(reader)
    return reader


async def test_a_slow_reader_who_takes_something_each_time_is_kept(reader: Reader) -> None:
    reader.left = 100_000
    reader.protocol.pause_writing()
    for left in (90_000, 80_000, 79_999):
        reader.left = left
        reader.time_passes()
        assert not reader.is_aborted
    reader.time_passes()
    assert reader.is_aborted


async def test_one_who_took_all_and_has_more_waiting_is_kept(reader: Reader) -> None:
    reader.left = 100_000
    reader.protocol.pause_writing()
    reader.protocol.resume_writing()
    reader.left = 150_000  # of another answer
    reader.protocol.pause_writing()
    reader.time_passes()
    assert not reader.is_aborted


async def test_nothing_is_watched_for_a_caller_who_has_taken_all(reader: Reader) -> None:
    reader.left = 100_000
    reader.protocol.pause_writing()
    reader.left = 0
    reader.protocol.resume_writing()
    reader.time_passes()
    assert not reader.is_aborted
    assert not reader.due


async def test_who_is_answered_while_another_waits_in_line_is_told_that_the_caller_has_gone() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await told.put("asked")
        await told.put((await receive())["type"])

    async with serving(app, BoundedConnection) as place, asyncio.timeout(60):
        _, writer = await asyncio.open_connection(*place)
        writer.write(ASK * 3)
        assert await told.get() == "asked"
        writer.close()
        assert await told.get() == "http.disconnect"
        assert told.empty(), "nobody is left for the others"
