"""Consoles that stand open, as browsers have them: the overview is pushed, other pages ask again every few seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import websockets

PAGES = ("overview", "requests", "models", "providers")  # in turn
EVERY_S = {"requests": 2.0, "models": 5.0, "providers": 5.0}
PART = {"HX-Request": "true", "HX-Target": "board"}


class Consoles:
    """What they heard: the moments of each one's pushes, and how often a page that asked was not answered."""

    def __init__(self, address: str, session: str) -> None:
        self._address = address
        self._cookie = {"Cookie": f"orchestrator_session={session}"}
        self.pushes: list[list[float]] = []
        self.asked = self.failed = 0

    @asynccontextmanager
    async def open(self, count: int) -> AsyncIterator[None]:
        """So many of them."""
        self.pushes = []
        async with httpx.AsyncClient(base_url=self._address, headers=self._cookie, timeout=30) as client:
            watching = [
                asyncio.create_task(
                    self._watch() if page == "overview" else self._poll(client, page, number / count), name=page
                )
                for number, page in ((number, PAGES[number % len(PAGES)]) for number in range(count))
            ]
            try:
                yield
            finally:
                for task in watching:
                    task.cancel()
                ended = await asyncio.gather(*watching, return_exceptions=True)
                self.failed += sum(isinstance(one, Exception) for one in ended)

    async def _watch(self) -> None:
        heard: list[float] = []
        self.pushes.append(heard)
        url = f"{self._address.replace('http', 'ws')}/dashboard/live/"
        async with websockets.connect(url, additional_headers=self._cookie, origin=self._address, proxy=None) as socket:  # type: ignore[arg-type]  # an address
            while True:
                await socket.recv()
                heard.append(time.monotonic())

    async def _poll(self, client: httpx.AsyncClient, page: str, begins: float) -> None:
        await asyncio.sleep(begins * EVERY_S[page])
        address = f"/dashboard/{page}/"
        if page == "requests":
            seen = (await client.get(address, params={"part": "news", "after": 0})).headers.get("X-Newest", "0")
        while True:
            self.asked += 1
            if page == "requests":
                answer = await client.get(address, params={"part": "news", "after": seen}, headers=PART)
                seen = answer.headers.get("X-Newest", seen)
            else:
                answer = await client.get(address, headers=PART)
            self.failed += answer.status_code not in {200, 204, 304}
            await asyncio.sleep(EVERY_S[page])


def most_within(moments: list[float], seconds: float) -> int:
    """How many at most are within so many seconds."""
    return max((sum(first <= one < first + seconds for one in moments) for first in moments), default=0)
