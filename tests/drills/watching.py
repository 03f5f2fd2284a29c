"""Consoles that stand open, as browsers have them: the overview is pushed, other pages ask again every few seconds."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx
import websockets

from tests.drills.base import LAG_EVERY_S, Wake

PAGES = ("overview", "requests", "models", "providers")  # in turn
EVERY_S = {"requests": 2.0, "models": 5.0, "providers": 5.0}
LATE_S = 0.25
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


def most_in_a_second(moments: Sequence[float], wakes: Sequence[Wake]) -> tuple[int, int]:
    """How many pushes at most were surely sent within one second, and how many seconds were judged.

    Each second begins with a push, and is judged if it was watched to its end and this process was never late by more
    than LATE_S in it: what is sent while it is late is heard together.
    """
    most = judged = 0
    followed_at = [*(wake.at for wake in wakes[1:]), math.inf]
    for first in moments:
        if first + 1.0 > wakes[-1].at:
            continue
        # It is known to be awake again only when it next wakes.
        during = (
            wake.late_s
            for wake, until in zip(wakes, followed_at, strict=True)
            if wake.at - wake.late_s - LAG_EVERY_S < first + 1.0 and until > first
        )
        late_s = max(during, default=0.0)
        if late_s <= LATE_S:
            judged += 1
            surely_s = 1.0 - late_s - LAG_EVERY_S  # those heard within it were sent within a second
            most = max(most, sum(first <= one < first + surely_s for one in moments))
    return most, judged
