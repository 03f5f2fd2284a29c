"""Callers' connections, with bounds on how many there are and on how long one may take nothing of its answer.

uvicorn waits for ever for a caller who does not read, also after it has closed the connection, and
accepts connections until no file is left for anything else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

SEND_WITHIN_S = 60.0
TOLD = 64  # that are told there is no place for them; those beyond just see their connection closed
FULL = b'{"error":"Too many connections are open; try again shortly."}'

log = logging.getLogger(__name__)


class BoundedConnection(HttpToolsProtocol):
    """Refuses a connection too many, and breaks off one whose caller takes nothing.

    most_connections  of this process; one more is answered 503.
    send_within_s     a caller who takes nothing of what is there for so long is given up, at the
                      latest after twice that.
    """

    most_connections = 1_000_000
    send_within_s = SEND_WITHIN_S
    _is_full = False  # of the class: one line is logged for each change

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._looking: asyncio.TimerHandle | None = None
        self._idle_since: float | None = None  # seconds of the loop; None while something is asked
        self._served: RequestResponseCycle | None = None  # who came later on this connection waits in line
        self._turns = 0  # each may have changed how much is left to take

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        over = len(self.connections) - self.most_connections
        if over > 0:
            self._say(is_full=True)
            self.app = full
        if over > TOLD:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        super().connection_lost(exc)
        if self._served is not None and not self._served.response_complete:  # uvicorn tells the last in line
            self._served.disconnected = True
            self._served.message_event.set()
        if self._is_full and len(self.connections) < 0.9 * self.most_connections:
            self._say(is_full=False)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._turns += 1

    def on_response_complete(self) -> None:
        """As uvicorn has it, but for a timer of its own for each answer."""
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if self.pipeline:  # who waited in line gets a task; its body may be yet to come, and be waited for
                BoundedConnection._start_asgi_task(self, *self.pipeline.pop())
            else:
                self._idle_since = self.loop.time()
                if self.timeout_keep_alive_task is None:
                    self._idle_later(self.timeout_keep_alive)
        if self.transport.get_write_buffer_size():
            self._look_later()

    def _unset_keepalive_if_required(self) -> None:
        """Called by uvicorn when something is received: the timer goes on, and looks how long ago that was."""
        self._idle_since = None

    def _idle_later(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self._look_whether_idle)

    def _look_whether_idle(self) -> None:
        self.timeout_keep_alive_task = None
        if self.transport.get_protocol() is not self:  # a websocket now
            return
        left_s: float = self.timeout_keep_alive
        if self._idle_since is not None:
            left_s -= self.loop.time() - self._idle_since
        if left_s > 0:
            self._idle_later(left_s)
        else:
            self.timeout_keep_alive_handler()

    def _look_later(self) -> None:
        self._turns += 1
        if self._looking is None:  # an earlier one will do, and spares most responses a timer of their own
            left = self.transport.get_write_buffer_size()
            self._looking = self.loop.call_later(self.send_within_s, self._look, self._turns, left)

    def _look(self, turns: int, before: int) -> None:
        self._looking = None
        if self.transport.get_protocol() is not self:  # a websocket now, which has bounds of its own
            return
        left = self.transport.get_write_buffer_size()
        if left and left >= before and turns == self._turns:
            self.transport.abort()  # closing would wait until all is taken
        elif left:
            self._looking = self.loop.call_later(self.send_within_s, self._look, self._turns, left)

    def _say(self, *, is_full: bool) -> None:
        cls = type(self)
        if is_full and not cls._is_full:
            log.warning("%d connections are open; more are refused", self.most_connections)
        elif cls._is_full and not is_full:
            log.warning("connections are taken again")
        cls._is_full = is_full


async def full(scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
    """Answers whatever it is asked with 503, and the end of the connection."""
    headers = [
        (b"content-type", b"application/json; charset=utf-8"),
        (b"content-length", str(len(FULL)).encode()),
        (b"retry-after", b"1"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": FULL})
