"""So many at a time, and whose turn it is when one is over."""

from __future__ import annotations

import asyncio

from orchestrator.core.turns import FairQueue, Turn


class Places:
    """Places at a model; who waits for one is served in turn by tenant."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue()

    @property
    def is_free(self) -> bool:
        """Whether one can be had without waiting."""
        return self._free > 0

    async def take(self, turn: Turn) -> None:
        """Have a place; it must be given back."""
        if self._free > 0:  # and so nobody waits
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put(place, turn)
        try:
            await place
        except asyncio.CancelledError:
            if not self._queue.drop(place) and not place.cancelled():  # it was given just now
                self.give_back()
            raise

    def give_back(self) -> None:
        """To whose turn it is."""
        while self._queue:
            place = self._queue.take()
            if not place.done():  # it is when who waited left just now
                place.set_result(None)
                return
        self._free += 1
