"""HTTP/1.1 as uvicorn speaks it, with bounds on the head of a request, and a short way for short exchanges.

A request that came whole is shown to the application before it gets a task, where the application is `AtOnce`.

uvicorn waits for ever for a head that does not end and keeps headers without limit; either lets
one idle or hostile client hold a connection and memory.
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from typing import Any
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from orchestrator.core.exchange import EXCHANGE
from orchestrator.core.scopes import plain_address
from orchestrator.supervisor.connections import BoundedConnection

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
MOST_HEAD = 64 * 1024  # bytes; one that comes in a single read may be longer, up to that read
HEAD_WITHIN_S = 30.0
MOST_HEADERS = 100

log = logging.getLogger(__name__)


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


class Batch:
    """Requests that came in one turn of the loop, to be answered together in its next.

    One after the other, each answer would wake its caller, who would ask again, and the loop would turn once for each
    request: that costs more than the tasks that are spared.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._some: list[BoundedHead] = []

    def add(self, connection: BoundedHead) -> None:
        """A request is all there."""
        if not self._some:
            self._loop.call_soon(self._answer)
        self._some.append(connection)

    def _answer(self) -> None:
        some, self._some = self._some, []
        for connection in some:
            connection.answer_at_once()


_batches: WeakKeyDictionary[asyncio.AbstractEventLoop, Batch] = WeakKeyDictionary()


class BoundedHead(BoundedConnection):
    """Closes a connection whose request's head is too long, or too long in coming."""

    head_within_s = HEAD_WITHIN_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._head = 0  # bytes that were no body and completed nothing: of a head, or of lines after a body
        self._has_moved = False  # what was received just now did more than that
        self._has_too_many = False  # headers
        self._begun: tuple[RequestResponseCycle, Any] | None = None  # a request whose head was read, and for whom
        self._batch = _batches.get(self.loop) or _batches.setdefault(self.loop, Batch(self.loop))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        if self.client is not None:  # an IPv4 address on a socket for both is one
            self.client = (plain_address(self.client[0]) or self.client[0], self.client[1])
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._has_moved = False
        super().data_received(data)
        if self._begun is not None and self._begun[0].more_body:
            self._start_begun()
        if self.transport.is_closing() or self.transport.get_protocol() is not self:  # refused, or a websocket now
            self._disarm()
            return
        if self.cycle is None or self.cycle.response_complete:  # a head has begun and not ended
            self._arm()
        # A head that came in one piece arms nothing: this is nearly every request's path.
        self._head = 0 if self._has_moved else self._head + len(data)
        if self._head > MOST_HEAD:
            self._refuse(b"431 Request Header Fields Too Large")

    def on_message_begin(self) -> None:
        self._has_moved = True
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        self._has_moved = True
        super().on_body(body)

    def on_headers_complete(self) -> None:
        self._disarm()
        self._has_moved = True
        if len(self.headers) > MOST_HEADERS:
            self._has_too_many = True
            raise ValueError("too many headers")  # the way to have the parser stop: `send_400_response` is called
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:  # it is no websocket
            self.scope["headers"] = self.headers.copy()  # the parser adds lines that come after a body
            self.scope["extensions"] = {EXCHANGE: WholeExchange(self.cycle)}  # type: ignore[dict-item]  # no mere options

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Called by uvicorn while it reads a head, when nobody waits on this connection."""
        if hasattr(app, "at_once"):
            self._served = cycle
            self._begun = cycle, app
        else:
            super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        self._has_moved = True
        super().on_message_complete()
        if self._begun is not None and not self._begun[0].more_body:
            self._batch.add(self)

    def answer_at_once(self) -> None:
        """Answer the request that came, or begin a task for it."""
        if self._begun is None:
            return
        cycle, app = self._begun
        scope: Any = cycle.scope
        try:
            is_answered = app.at_once(scope, scope["extensions"][EXCHANGE])
        except Exception:
            log.exception("a request could not be answered at once")
            is_answered = cycle.response_complete
        if is_answered:
            self._begun = None
        else:
            self._start_begun()

    def _start_begun(self) -> None:
        assert self._begun is not None
        super()._start_asgi_task(*self._begun)
        self._begun = None

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
            served = self._served
            if served is None or served.response_complete or not served.response_started:
                self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
