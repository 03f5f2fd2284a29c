"""The live connection of a page."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

from channels.generic.websocket import AsyncWebsocketConsumer

from dashboard.access import reach_of_session, reach_of_socket
from dashboard.live import Live, Mailbox, live
from dashboard.periods import Period, period

SEND_S = 20.0  # a page that takes longer than this to take a message is gone
CHECK_EVERY_S = 30.0  # a session that was signed out sees nothing more after this
SPEAK_EVERY_S = 5.0  # a page that hears nothing for longer takes the connection for dead
STILL_HERE = "<!-- nothing new -->"
SIGNED_OUT, FAILED = 4403, 1011


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """Sends what changes to one page, to those whose role may see it. It takes no messages."""

    name = "live"  # in the policy of sockets
    live: Live = live
    check_every_s = CHECK_EVERY_S

    async def connect(self) -> None:
        """Accept who may see the page; refuse others before the handshake ends, which is a 403."""
        self._task: asyncio.Task[None] | None = None
        user, session = self.scope.get("user"), self.scope.get("session")
        self.reach = await reach_of_socket(self.name, user)
        if session is None or self.reach.is_nobody:
            await self.close()
            return
        await self.accept()
        asked = parse_qs(self.scope["query_string"].decode("ascii", "replace")).get("period", [""])[0]
        self._task = asyncio.create_task(self._send_news(period(asked), session.session_key), name="live page")

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Nothing is expected from a page."""
        await self.close(code=SIGNED_OUT)

    async def disconnect(self, code: int) -> None:
        """The page is gone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _send_news(self, watched: Period, session_key: str) -> None:
        async with self.live.watch(watched, self.reach) as mailbox:
            checked = asyncio.get_running_loop().time()
            while self.live.is_polling:
                await self._send_next(mailbox)
                now = asyncio.get_running_loop().time()
                if now - checked >= self.check_every_s:
                    checked = now
                    if await reach_of_session(self.name, session_key) != self.reach:
                        await self.close(code=SIGNED_OUT)
                        return
        await self.close(code=FAILED)  # the page comes back, and starts a new poller

    async def _send_next(self, mailbox: Mailbox) -> None:
        try:
            messages = await asyncio.wait_for(mailbox.take(), SPEAK_EVERY_S)
        except TimeoutError:
            messages = [STILL_HERE]
        for message in messages:
            await asyncio.wait_for(self.send(text_data=message), SEND_S)
