"""The live connection of a page."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qsl

from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer

from dashboard.access import reach_of_session
from dashboard.live import Live, Mailbox, live
from dashboard.periods import Period, period
from dashboard.sessions import ended
from orchestrator.core.permissions import NOBODY

SEND_S = 20.0  # a page that takes longer than this to take a message is gone
SPEAK_EVERY_S = 5.0  # a page that hears nothing for longer takes the connection for dead
PAUSE_S = 0.6  # between one time and the next, two messages each: at most four in a second
STILL_HERE = "<!-- nothing new -->"
MOST_DIGITS = 18  # of the id of a record
SIGNED_OUT, FAILED = 4403, 1011


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels has no types
    """Sends what changes to one page, to those whose role may see it. It takes no messages."""

    name = "live"  # in the policy of sockets
    live: Live = live

    async def connect(self) -> None:
        """Accept who may see the page; refuse others before the handshake ends, which is a 403."""
        self._task: asyncio.Task[None] | None = None
        session = self.scope.get("session")
        key = None if session is None else session.session_key
        self.reach = NOBODY if key is None else await sync_to_async(reach_of_session)(self.name, key)
        if self.reach.is_nobody:
            await self.close()
            return
        await self.accept()
        asked = dict(parse_qsl(self.scope["query_string"].decode("ascii", "replace")))
        newest = asked.get("after", "")
        after = int(newest) if newest.isdecimal() and len(newest) <= MOST_DIGITS else None
        self._task = asyncio.create_task(self._serve(period(asked.get("period")), after, str(key)), name="live page")

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Nothing is expected from a page."""
        await self.close(code=SIGNED_OUT)

    async def disconnect(self, code: int) -> None:
        """The page is gone."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _serve(self, watched: Period, after: int | None, session_key: str) -> None:
        sending = asyncio.create_task(self._send_news(watched, after))
        ending = asyncio.create_task(ended(self.name, session_key, self.reach))
        try:
            await asyncio.wait({sending, ending}, return_when=asyncio.FIRST_COMPLETED)
            is_signed_out = ending.done()
        finally:
            for task in (sending, ending):
                task.cancel()
            await asyncio.gather(sending, ending, return_exceptions=True)
        await self.close(code=SIGNED_OUT if is_signed_out else FAILED)  # after a failure the page comes back

    async def _send_news(self, watched: Period, after: int | None) -> None:
        async with self.live.watch(watched, self.reach, after) as mailbox:
            while self.live.is_polling:
                await self._send_next(mailbox)

    async def _send_next(self, mailbox: Mailbox) -> None:
        try:
            messages = await asyncio.wait_for(mailbox.take(), SPEAK_EVERY_S)
        except TimeoutError:
            messages = [STILL_HERE]
        for message in messages:
            await asyncio.wait_for(self.send(text_data=message), SEND_S)
        await asyncio.sleep(PAUSE_S)  # what comes meanwhile goes together
