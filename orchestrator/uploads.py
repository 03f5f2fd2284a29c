"""What is sent to pages: no more than there may be, within the time that there is for it.

Django writes all of a body into a file before it asks who sent it. So what is too much is refused here, and what was
only found to be while it came is cut short: the page hears that its caller has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from dashboard.refusing import refuse

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

TOO_LARGE, TOO_LATE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_TIMEOUT


class Uploads:
    """Wraps an application of pages, whose bodies have `most` bytes at most and `within_s` to come."""

    def __init__(self, app: App, most: int, within_s: float) -> None:
        self._app, self._most, self._within_s = app, most, within_s

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Pass on, or refuse."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"")
        upload = _Upload(receive, send, self._most, asyncio.get_running_loop().time() + self._within_s)
        if announced.isdigit() and int(announced) > self._most:
            upload.fault = TOO_LARGE
        else:
            await self._app(scope, upload.receive, upload.send)
        if upload.fault is not None and not upload.has_begun:
            await self._refuse(scope, upload.fault, send)

    async def _refuse(self, scope: Any, fault: HTTPStatus, send: Send) -> None:
        if fault is TOO_LARGE:
            headline, words = (
                "What was sent is too large",
                f"What is sent to a page may have {self._most:,} bytes at most.",
            )
        else:
            headline = "What was sent did not arrive in time"
            words = f"What was sent did not arrive within {self._within_s:g} s."
        await refuse(scope, send, fault, headline, words)


class _Upload:
    """One body on its way."""

    def __init__(self, receive: Receive, send: Send, most: int, ends: float) -> None:
        self._receive, self._send = receive, send
        self._left, self._ends = most, ends
        self._is_whole = False
        self.fault: HTTPStatus | None = None
        self.has_begun = False  # an answer has

    async def receive(self) -> Message:
        """The next piece; that the caller has gone, where there is too much or it takes too long."""
        if self._is_whole:
            return await self._receive()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._ends):
                if self.fault is None:
                    message = await self._receive()
                    self._left -= len(message.get("body", b""))
                    self._is_whole = not message.get("more_body", False)
                    if self._left >= 0:
                        return message
        self.fault = self.fault or (TOO_LARGE if self._left < 0 else TOO_LATE)
        self._is_whole = False
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """What a page says that was told nobody is there any more is not sent: the refusal is."""
        if self.fault is None or self.has_begun:
            self.has_begun = True
            await self._send(message)
