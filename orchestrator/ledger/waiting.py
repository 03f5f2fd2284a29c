"""Who waits on an event loop for what a thread does."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple


class Waiter(NamedTuple):
    """Somebody who waits."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]

    @classmethod
    def here(cls) -> Waiter:
        """One on the loop that runs."""
        loop = asyncio.get_running_loop()
        return cls(loop, loop.create_future())


def answer(answers: Iterable[tuple[Waiter, Exception | None]]) -> None:
    """Tell everybody, from the thread: each loop is woken once, however many wait on it."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[None], Exception | None]]]
    by_loop = defaultdict(list)
    for waiter, error in answers:
        by_loop[waiter.loop].append((waiter.future, error))
    for loop, told in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_settle, told)


def _settle(told: Iterable[tuple[asyncio.Future[None], Exception | None]]) -> None:
    for future, error in told:
        if not future.done():
            future.set_exception(error) if error else future.set_result(None)
