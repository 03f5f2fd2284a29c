"""HTTP/1.1 as uvicorn speaks it, with bounds on the head of a request, and a short way for short exchanges.

uvicorn waits for ever for a head that does not end and keeps headers without limit; either lets
one idle or hostile client hold a connection and memory.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from orchestrator.core.exchange import EXCHANGE
from orchestrator.core.scopes import plain_address
from orchestrator.supervisor.connections import BoundedConnection

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
MOST_HEAD = 64 * 1024  # bytes; one that comes in a single read may be longer, up to that read
HEAD_WITHIN_S = 30.0
MOST_HEADERS = 100


class WholeExchange:
    """A request whose body came with its head, and a reply in one write; see `orchestrator.core.exchange`."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def body(self) -> bytes | None:
        """The request's body; None while some of it is missing."""
        return None if self._cycle.more_body else bytes(self._cycle.body)

    def is_gone(self) -> bool:
        """Whether the caller has hung up."""
        return self._cycle.disconnected

    def reply(self, head: bytes, body: bytes, *, is_streamed: bool, status: int = 200) -> bool:
        """Write it all, as `RequestResponseCycle.send` would in two messages."""
        cycle = self._cycle
        if cycle.disconnected or cycle.response_started or cycle.flow.write_paused:
            return False
        if not is_streamed:
            content = b"%bcontent-length: %d\r\n%b\r\n%b" % (head, len(body), self._closing(), body)
        elif cycle.scope["http_version"] == "1.1":
            content = b"%btransfer-encoding: chunked\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (
                head,
                self._closing(),
                len(body),
                body,
            )
        else:
            return False
        started = b"".join([b"%b: %b\r\n" % header for header in cycle.default_headers])  # the date
        cycle.response_started = cycle.response_complete = True
        cycle.transport.write(STATUS_LINES[status] + started + content)
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True

    def _closing(self) -> bytes:
        return b"" if self._cycle.keep_alive else b"connection: close\r\n"


class BoundedHead(BoundedConnection):
    """Closes a connection whose request's head is too long, or too long in coming."""

    head_within_s = HEAD_WITHIN_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._head = 0  # bytes of a head that is not complete
        self._has_too_many = False  # headers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        if self.client is not None:  # an IPv4 address on a socket for both is one
            self.client = (plain_address(self.client[0]) or self.client[0], self.client[1])
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # refused, or a websocket now
            self._disarm()
        elif self.cycle is None or self.cycle.response_complete:  # a head has begun and not ended
            self._arm()
            self._head += len(data)
            if self._head > MOST_HEAD:
                self._refuse(b"431 Request Header Fields Too Large")
        # A head that came in one piece arms nothing: this is nearly every request's path.

    def on_headers_complete(self) -> None:
        self._disarm()
        self._head = 0
        if len(self.headers) > MOST_HEADERS:
            self._has_too_many = True
            raise ValueError("too many headers")  # the way to have the parser stop: `send_400_response` is called
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:  # it is no websocket
            self.scope["extensions"] = {EXCHANGE: WholeExchange(self.cycle)}  # type: ignore[dict-item]  # no mere options

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or has a head of too many lines."""
        if self._has_too_many:
            self._refuse(b"431 Request Header Fields Too Large")
        else:
            super().send_400_response(msg)

    def _arm(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.head_within_s, self._refuse, b"408 Request Timeout")

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: bytes) -> None:
        self._disarm()
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
