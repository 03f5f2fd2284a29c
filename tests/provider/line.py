"""One connection to a provider, with HTTP written by hand: so that it can be written wrong."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from tests.provider.log import Call, Opened

SEND_BUFFER = 64 * 1024  # or the kernel takes in megabytes, and what was sent says little about what was read
TLS = b"\x16\x03"  # what its first message begins with
NO_BODY: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked."""

    method: str
    path: str  # without a query
    headers: dict[str, str]  # names in small letters
    body: bytes


class Line(asyncio.Protocol):
    """A connection from one client. What is written is counted in the call that goes on.

    Writing raises ConnectionResetError once it is closed.
    """

    def __init__(self, opened: Opened, served: Callable[[Line], Any]) -> None:
        """`served` is awaited once there is a connection; it is cancelled when the other side closes that."""
        self.opened = opened
        self.call: Call | None = None
        self._served = served
        self._work: asyncio.Task[None] | None = None
        self._data = bytearray()
        self._has_news = asyncio.Event()
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._is_over = False
        self._transport: asyncio.Transport

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._transport.set_write_buffer_limits(high=SEND_BUFFER)
        self._work = asyncio.create_task(self._served(self))

    def data_received(self, data: bytes) -> None:
        self.opened.received += len(data)
        self._data += data
        self._has_news.set()
        if self._data.startswith(TLS):  # which is spoken here by nobody
            self._transport.abort()

    def eof_received(self) -> bool:
        self._gone()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._gone()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def _gone(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self.opened.closed_at = time.monotonic()
        if self.call and self.call.is_open:
            self.call.closed_at = self.opened.closed_at
        assert self._work is not None
        self._work.cancel()

    # What a provider does.

    @property
    def is_over(self) -> bool:
        """Whether either side closed it."""
        return self._is_over

    async def request(self) -> Request:
        """The next question."""
        head = (await self._until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        body = await self._take(int(headers.get("content-length", "0")))
        return Request(method, target.partition("?")[0], headers, body)

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        if self._is_over:
            raise ConnectionResetError
        if self.call:
            self.call.sent += len(data)
        self._transport.write(data)
        await self._may_write.wait()
        # One that is always ready to write would never hear that the other side has left.
        await asyncio.sleep(0)

    async def head(self, status: int = 200, headers: Mapping[str, str] = NO_BODY) -> None:
        """Send a status and headers; the body follows in chunks unless a length is named, or that it ends as we do."""
        given = {"Content-Type": "text/event-stream", **headers}
        if not {"Content-Length", "Connection"} & given.keys():
            given["Transfer-Encoding"] = "chunked"
        lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in given.items())]
        await self.raw("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        """Send one chunk of a body; nothing for no data, which would be its end."""
        if data:
            await self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        """Send the chunk that is the last."""
        await self.raw(b"0\r\n\r\n")

    async def whole(self, body: bytes, status: int = 200, headers: Mapping[str, str] = NO_BODY) -> None:
        """Send a response of known length."""
        await self.head(status, {"Content-Type": "application/json", **headers, "Content-Length": str(len(body))})
        await self.raw(body)

    async def json(self, value: object, status: int = 200, headers: Mapping[str, str] = NO_BODY) -> None:
        """Send a value."""
        await self.whole(json.dumps(value).encode(), status, headers)

    def hang_up(self) -> None:
        """Close it once what was written is sent: FIN."""
        self._is_over = True
        self._transport.close()

    def reset(self) -> None:
        """Close it at once: RST."""
        self._is_over = True
        if self._transport.is_closing():
            return
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def aclose(self) -> None:
        """Close it, and wait for whoever serves it."""
        self.reset()
        assert self._work is not None
        self._work.cancel()
        await asyncio.wait([self._work])

    @property
    def _socket(self) -> socket.socket:
        found: socket.socket = self._transport.get_extra_info("socket")
        return found

    async def _until(self, mark: bytes) -> bytes:
        while (place := self._data.find(mark)) < 0:
            await self._news()
        return (await self._take(place + len(mark)))[: -len(mark)]

    async def _take(self, size: int) -> bytes:
        while len(self._data) < size:
            await self._news()
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken

    async def _news(self) -> None:
        self._has_news.clear()
        await self._has_news.wait()
