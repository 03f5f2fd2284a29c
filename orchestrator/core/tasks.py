"""Tasks that have to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_AGAIN_S = 0.1
_seen_through: set[asyncio.Task[Any]] = set()


class Stoppable:
    """Runs coroutines in threads, each in a loop of its own, and ends them all when it is told to stop."""

    def __init__(self) -> None:
        self._is_over = False
        self._stops: set[Callable[[], object]] = set()

    def run(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What `work` returns; None when it was to stop before."""
        return asyncio.run(self._run(work))

    def stop(self) -> None:
        """End what runs, and whatever is begun later. Waits for nothing, so a signal's handler may call it."""
        self._is_over = True
        for stop in tuple(self._stops):
            with suppress(RuntimeError):  # it ended meanwhile, and its loop with it
                stop()

    async def _run(self, work: Coroutine[Any, Any, T]) -> T | None:
        loop, told = asyncio.get_running_loop(), asyncio.Event()

        def stop() -> None:
            loop.call_soon_threadsafe(told.set)

        self._stops.add(stop)
        working, telling = asyncio.create_task(work), asyncio.create_task(told.wait())
        try:
            if self._is_over:
                told.set()
            await asyncio.wait({working, telling}, return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            self._stops.discard(stop)
            await end([working, telling])


async def see_through(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. It is carried to its end though whoever waits for it may go before."""
    task = asyncio.create_task(work)
    _seen_through.add(task)  # the loop itself holds none
    task.add_done_callback(_seen_through.discard)
    return await asyncio.shield(task)


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel `tasks`, and wait until they are over.

    A cancellation that meets a timeout may get lost on its way (Python 3.11), so it is said until it is heard.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)
