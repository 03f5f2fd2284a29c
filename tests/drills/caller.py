"""A caller on a raw socket: it sees each piece as it comes, and can leave in every way there is."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.drills.question import Question

CONNECTS_WITHIN_S = 20.0
Leaving = Literal["close", "reset", "half-close"]


@dataclass(slots=True)
class Heard:
    """What a caller heard.

    text   the pieces put together.      at     monotonic time of each piece.
    error  what the product said went wrong, or how the connection broke; empty when nothing did.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    text: str = ""
    at: list[float] = field(default_factory=list)
    is_complete: bool = False
    error: str = ""

    def is_right(self, question: Question) -> bool:
        """A complete answer to `question`, and to no other."""
        return self.is_complete and not self.error and self.text == question.answer()

    def is_wrong(self, question: Question) -> bool:
        """It holds what is no part of the right answer, or poses as a complete one and is not."""
        # A connection that breaks after the end was told makes no right answer wrong.
        return not question.answer().startswith(self.text) or (self.is_complete and self.text != question.answer())

    @property
    def longest_gap_s(self) -> float:
        """The longest time between two pieces."""
        return max((after - before for before, after in zip(self.at, self.at[1:], strict=False)), default=0.0)


class Caller:
    """One connection, for one request. Raises OSError, or TimeoutError when it cannot connect."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.heard = Heard()
        self.left_at = 0.0
        self._pieces: AsyncGenerator[str, None] | None = None
        self.port = int(writer.get_extra_info("sockname")[1])

    @classmethod
    async def connect(cls, base_url: str, *, receive_buffer: int | None = None, limit: int = 2**16) -> Caller:
        """Connect to the product.

        receive_buffer  bytes the kernel may take in for us; None: as many as it likes.
        limit           bytes this process reads ahead.
        """
        host, _, port = base_url.removeprefix("http://").rpartition(":")
        connection = socket.socket()
        try:
            if receive_buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.setblocking(False)
            async with asyncio.timeout(CONNECTS_WITHIN_S):
                await asyncio.get_running_loop().sock_connect(connection, (host, int(port)))
            reader, writer = await asyncio.open_connection(sock=connection, limit=limit)
        except BaseException:
            connection.close()
            raise
        return cls(reader, writer)

    def send(self, path: str, body: dict[str, Any], **headers: str) -> None:
        """Send the request; underscores in the names of headers stand for dashes."""
        data = json.dumps(body).encode()
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: localhost",
            "Content-Type: application/json",
            f"Content-Length: {len(data)}",
            *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
        ]
        self.send_raw("\r\n".join(lines).encode() + b"\r\n\r\n" + data)

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)

    async def head(self) -> Heard:
        """Read up to the end of the headers."""
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.heard.status = int(status.split()[1])
        self.heard.headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)
        }
        return self.heard

    async def next_piece(self) -> str | None:
        """The next piece of the answer, in whatever dialect and form, once the headers are read; None at the end."""
        self._pieces = self._pieces or self._read_pieces()
        return await anext(self._pieces, None)

    async def listen(self) -> Heard:
        """Read head and answer to the end; a connection that breaks is an error that was heard."""
        try:
            if not self.heard.status:
                await self.head()
            while await self.next_piece() is not None:
                pass
        except (OSError, asyncio.IncompleteReadError) as error:
            self.heard.error = f"the connection broke: {type(error).__name__}"
        return self.heard

    def leave(self, how: Leaving = "close") -> None:
        """Hang up; nothing happens to a connection that is closed. `left_at` is when this was first done."""
        self.left_at = self.left_at or time.monotonic()
        if self._writer.transport.is_closing():
            return
        match how:
            case "half-close":
                self._writer.write_eof()
            case "reset":
                connection: socket.socket = self._writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self._writer.transport.abort()
            case "close":
                self._writer.close()

    async def read_some(self, most: int) -> bytes:
        """Up to so many bytes, as they are; none at the end."""
        return await self._reader.read(most)

    async def _read_pieces(self) -> AsyncGenerator[str, None]:
        if self.heard.headers.get("content-type", "").startswith(("application/x-ndjson", "text/event-stream")):
            async for line in self._lines():
                if line and line != b"data: [DONE]" and (piece := self._take(json.loads(line.removeprefix(b"data: ")))):
                    yield piece
            return
        data = await self._reader.readexactly(int(self.heard.headers["content-length"]))
        if piece := self._take(json.loads(data)):
            yield piece

    async def _lines(self) -> AsyncGenerator[bytes, None]:
        """Lines out of chunks."""
        rest = b""
        while True:
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            data = (await self._reader.readexactly(size + 2))[:-2]
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield line
            if not size:
                return

    def _take(self, value: dict[str, Any]) -> str:
        if error := value.get("error"):
            self.heard.error = error["message"] if isinstance(error, dict) else str(error)
            return ""
        if choices := value.get("choices"):
            part = choices[0].get("delta", choices[0].get("message", {})).get("content") or ""
            is_end = choices[0].get("finish_reason") is not None
        else:
            part = value["response"] if "response" in value else value.get("message", {}).get("content", "")
            is_end = bool(value.get("done"))
        if part:
            self.heard.text += part
            self.heard.at.append(time.monotonic())
        self.heard.is_complete = self.heard.is_complete or is_end
        return str(part)


async def ask(
    base_url: str, question: Question, path: str = "/api/chat", *, stream: bool = True, **headers: str
) -> Heard:
    """Ask one question on a connection of its own and listen to the end."""
    caller = await Caller.connect(base_url)
    try:
        caller.send(path, question.body(path, stream=stream), **headers)
        return await caller.listen()
    finally:
        caller.leave()
