"""HTTP/1.1 as uvicorn speaks it, with bounds on the head of a request.

uvicorn waits for ever for a head that does not end and keeps headers without limit; either lets
one idle or hostile client hold a connection and memory.
"""

from __future__ import annotations

import asyncio
from typing import Any

from orchestrator.supervisor.connections import BoundedConnection

MOST_HEAD = 64 * 1024  # bytes; one that comes in a single read may be longer, up to that read
HEAD_WITHIN_S = 30.0


class BoundedHead(BoundedConnection):
    """Closes a connection whose request's head is too long, or too long in coming."""

    head_within_s = HEAD_WITHIN_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._head = 0  # bytes of a head that is not complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
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
        super().on_headers_complete()

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
