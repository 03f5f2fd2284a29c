"""Pictures that a request names by their address: they are fetched, and go on as if they had come with it.

A slow server or a large picture is a few words to ask for, so what they take is shared by the tenants: who has most
places gives one up when another comes that has fewer, and nobody holds so much that nothing is left for others.
"""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from dataclasses import replace

from orchestrator.core.errors import BadRequest, Busy, FetchRefused
from orchestrator.core.images import MOST_PIXELS, kind_of, pixels_of
from orchestrator.core.seats import NoSeat, Seats
from orchestrator.core.turns import Turn
from orchestrator.core.types import ChatRequest
from orchestrator.outbound.places import Rules

TYPES = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})
MOST_NAMED = 8  # in one request
MOST_BYTES = 10 * 1024**2  # of one
MOST_AT_ONCE = 8  # that are being fetched, of all requests of a process
MOST_HELD = 256 * 1024**2  # bytes of their text, of all requests of a process that are under way
SHARE = 2  # times as much as is left over is what one tenant may hold: two thirds, where it is alone


def is_address(image: str) -> bool:
    """Whether an image of a message is an address: base64 has no colons."""
    return ":" in image[:8]


def named(request: ChatRequest) -> list[str]:
    """The addresses of pictures in a request, each once."""
    return list(dict.fromkeys(image for message in request.messages for image in message.images if is_address(image)))


class Pictures:
    """Fetches pictures."""

    def __init__(self, rules: Rules = Rules()) -> None:  # noqa: B008  # it does not change
        self._rules = rules
        self._seats = Seats(MOST_AT_ONCE)
        self._held: Counter[int] = Counter()  # bytes, by tenant

    async def fetched(self, request: ChatRequest, tenant: int) -> ChatRequest:
        """The request with what is at each address in its place. Raises BadRequest, FetchRefused, FetchFailed, Busy."""
        addresses = named(request)
        if not addresses:
            return request
        if len(addresses) > MOST_NAMED:
            raise BadRequest(f"A request may name {MOST_NAMED} pictures by address; send more of them as base64.")
        found = {address: await self._fetched(address, tenant) for address in addresses}
        messages = tuple(
            replace(message, images=tuple(found.get(image, image) for image in message.images))
            for message in request.messages
        )
        return replace(request, messages=messages)

    async def _fetched(self, address: str, tenant: int) -> str:
        # Here, because it is a tenth of a worker's start, and most never fetch.
        from orchestrator.outbound.fetch import fetch

        def give_up() -> None:
            fetching.cancel()

        task = asyncio.current_task()
        assert task is not None
        try:
            seat = self._seats.take(Turn(tenant=tenant), give_up)
        except NoSeat:
            raise _too_many() from None
        fetching = asyncio.create_task(fetch(address, types=TYPES, most_bytes=MOST_BYTES, rules=self._rules))
        try:
            try:
                body = (await fetching).body
            except asyncio.CancelledError:
                if seat.is_taken or task.cancelling():  # whoever asked has gone
                    raise
                raise _too_many() from None
            if not kind_of(body):
                raise FetchRefused("What is at the address is no JPEG, PNG, GIF or WebP picture.")
            if pixels_of(body) > MOST_PIXELS:
                raise FetchRefused(f"The picture has more than {MOST_PIXELS:,} pixels; send a smaller one.")
            self._hold(tenant, 4 * -(-len(body) // 3))
            return await asyncio.to_thread(lambda: base64.b64encode(body).decode())
        finally:
            seat.leave()

    def _hold(self, tenant: int, size: int) -> None:
        """Count what a picture takes, until the request of this task is over. Raises Busy.

        A few words name a hundred megabytes: who sends those is bounded by what he sends.
        """
        if self._held[tenant] + size > SHARE * (MOST_HELD - self._held.total() - size):
            raise Busy("Too many pictures are held; try again shortly.", retry_after_s=1)
        task = asyncio.current_task()
        assert task is not None
        self._held[tenant] += size
        task.add_done_callback(lambda _: self._let_go(tenant, size))

    def _let_go(self, tenant: int, size: int) -> None:
        self._held[tenant] -= size
        if not self._held[tenant]:
            del self._held[tenant]


def _too_many() -> Busy:
    return Busy("Too many pictures are being fetched; try again shortly.", retry_after_s=1)
