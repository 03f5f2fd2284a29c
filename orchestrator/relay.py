"""Connections that another process of this machine serves: ASGI, message by message, over a Unix socket.

A page takes tens of milliseconds of a processor, in which an event loop answers nobody else. Made in a process of its
own, it takes none of the time of whoever asks a model. A connection is one of the socket's: its scope first, which
the other side says that it takes, then messages in both directions until either side is done. While nobody listens, or
whoever does takes nothing, it is served here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec

from dashboard.refusing import refuse
from orchestrator.core.listening import BACKLOG

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

# What of a scope is told; the rest is of the server's own process.
TOLD = (
    *("type", "asgi", "http_version", "scheme", "method", "path", "raw_path", "query_string", "root_path"),
    *("headers", "client", "server", "subprotocols"),
)
EXTENSIONS = {"websocket.http.response"}  # that are messages, and no objects
LENGTH = 4  # bytes before each message, that say how long it is
MOST_MESSAGE = 64 * 1024**2  # bytes
CONNECTS_WITHIN_S = 1.0
TAKEN = {"type": "relay.taken"}  # what is said before anything but the scope was passed on
TAKEN_WITHIN_S = 3.0  # a process whose loop stands still is connected to, but takes nothing
BEGINS_WITHIN_S = 120.0  # from the last piece of the request to the first of the answer
ENDS_WITHIN_S = 5.0  # once the caller has gone
MOST_WAITING = 8  # messages that a page has not taken yet
RESTARTING = 1012  # a websocket's word for: come again
AGAIN = {"GET", "HEAD"}  # what may be asked twice


class Line:
    """Messages over a stream; one that was closed takes no more and gives none."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> Any:
        """The next message; None at the end."""
        with suppress(asyncio.IncompleteReadError, OSError):
            length = int.from_bytes(await self._reader.readexactly(LENGTH))
            if length <= MOST_MESSAGE:
                return msgspec.msgpack.decode(await self._reader.readexactly(length))
            log.error("a message of %d bytes between processes is more than there may be", length)
        return None

    async def write(self, message: Any) -> None:
        """Send one, and wait while the other side is slow."""
        content = msgspec.msgpack.encode(message)
        with suppress(OSError):
            self._writer.writelines((len(content).to_bytes(LENGTH), content))
            await self._writer.drain()

    def close(self) -> None:
        """No more of either."""
        self._writer.close()


class Relay:
    """An application whose connections are served by who listens at `path`, or by `here` while nobody does."""

    def __init__(self, path: Path, here: App) -> None:
        self._path, self._here = path, here

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Called by the server for each connection."""
        line = await self._taken(scope)
        if line is None:
            await self._here(scope, receive, send)
            return
        passed = _Passed(scope, receive, send, line)
        try:
            await passed.both_ways()
        finally:
            line.close()
        if not passed.has_begun:
            await self._begin_again(passed)
        elif scope["type"] == "websocket" and not (passed.is_over or passed.is_gone):
            await send({"type": "websocket.close", "code": RESTARTING})
        # An answer that broke off is not completed: the server closes the connection, so that the caller sees it.

    async def _taken(self, scope: Any) -> Line | None:
        """A line to whoever has taken it; None: nobody has, nor does so any more."""
        try:
            async with asyncio.timeout(CONNECTS_WITHIN_S):
                line = Line(*await asyncio.open_unix_connection(self._path))
        except (OSError, TimeoutError):
            return None
        is_taken = False
        try:
            async with asyncio.timeout(TAKEN_WITHIN_S):
                await line.write(_told(scope))
                is_taken = await line.read() == TAKEN
        except TimeoutError:
            log.warning("the process of pages takes nothing, so a page is made here: %s", scope["path"])
        finally:
            if not is_taken:
                line.close()
        return line if is_taken else None

    async def _begin_again(self, passed: _Passed) -> None:
        """It ended before it said anything: what changes nothing is served here, for the rest it is not known."""
        if passed.is_gone:
            return
        if passed.scope["type"] == "websocket" or passed.scope["method"] in AGAIN:
            await self._here(passed.scope, passed.from_the_start, passed.send)
            return
        words = "The process that was at this ended, or took too long. See whether it was done, and ask again if not."
        headline = "Whether it was done is not known"
        await refuse(passed.scope, passed.send, HTTPStatus.SERVICE_UNAVAILABLE, headline, words)


class _Passed:
    """One connection on its way to the other process, and back."""

    def __init__(self, scope: Any, receive: Receive, send: Send, line: Line) -> None:
        self.scope, self.send = scope, send
        self._receive, self._line = receive, line
        self._first: Message | None = None  # what was received first, in case it is served here after all
        self._deadline = asyncio.timeout(None)  # for the first of an answer
        self.has_begun = False  # an answer has
        self.is_over = False  # it has been given to its end
        self.is_gone = False  # the caller has hung up

    async def both_ways(self) -> None:
        """Until the answer is over, the caller has gone, or the other process has."""
        passing = asyncio.create_task(self._there(), name="relay")
        try:
            async with self._deadline:
                self._wait_from_now()
                while not self.is_over and (message := await self._line.read()) is not None:
                    if not self.has_begun:
                        self.has_begun = True
                        self._deadline.reschedule(None)
                    self.is_over = _is_last(message)
                    await self.send(message)
        except TimeoutError:
            log.error("a page did not begin within %g s: %s", BEGINS_WITHIN_S, self.scope["path"])
        except OSError:  # a server's word for a caller who has gone
            self.is_gone = True
        finally:
            passing.cancel()
            await asyncio.wait({passing})

    async def from_the_start(self) -> Message:
        """What there is to receive, with what was received before."""
        first, self._first = self._first, None
        return first if first is not None else await self._receive()

    def _wait_from_now(self) -> None:
        if not (self.has_begun or self._deadline.expired()):
            self._deadline.reschedule(asyncio.get_running_loop().time() + BEGINS_WITHIN_S)

    async def _there(self) -> None:
        while not self.is_gone:
            message = await self._receive()
            self._first = self._first or message
            self.is_gone = message["type"].endswith(".disconnect")
            await self._line.write(message)
            self._wait_from_now()
        await asyncio.sleep(ENDS_WITHIN_S)
        self._line.close()


def _told(scope: Any) -> dict[str, Any]:
    told = {name: scope[name] for name in TOLD if name in scope}
    extensions = {name: how for name, how in (scope.get("extensions") or {}).items() if name in EXTENSIONS}
    return told | {"extensions": extensions}


def _is_last(message: Message) -> bool:
    kind = message["type"]
    return kind == "websocket.close" or (kind.endswith("response.body") and not message.get("more_body", False))


@asynccontextmanager
async def serving(app: App, listening: socket.socket) -> AsyncIterator[None]:
    """Serve, until the context ends, what relays pass on; then what is under way is ended."""
    under_way: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        under_way.add(task)
        try:
            await _serve(app, Line(reader, writer))
        finally:
            under_way.discard(task)
            writer.close()

    server = await asyncio.start_unix_server(serve, sock=listening, backlog=BACKLOG)
    try:
        yield
    finally:
        server.close()
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way, timeout=ENDS_WITHIN_S)


async def _serve(app: App, line: Line) -> None:
    scope = await line.read()
    if scope is None:
        return
    await line.write(TAKEN)
    first = await line.read()
    if first is None:  # it is served elsewhere by now, or nobody is there any more
        return
    for place in ("client", "server"):
        scope[place] = tuple(scope[place]) if scope.get(place) else None
    scope["headers"] = [(name, value) for name, value in scope["headers"]]
    came: asyncio.Queue[Message] = asyncio.Queue(MOST_WAITING)
    gone: Message = {"type": f"{scope['type']}.disconnect", "code": 1006}

    async def fill() -> None:
        message = first
        await came.put(message)
        while not message["type"].endswith(".disconnect"):
            message = await line.read() or gone
            await came.put(message)
        while True:  # however often it is asked for
            await came.put(message)

    filling = asyncio.create_task(fill(), name="relayed")
    try:
        await app(scope, came.get, line.write)
    except Exception:
        log.exception("a page failed: %s", scope["path"])
    finally:
        filling.cancel()
        await asyncio.wait({filling})
