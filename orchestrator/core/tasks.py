"""Tasks that have to end, and how long they are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from orchestrator.core.daemons import DaemonThreads

T = TypeVar("T")

_AGAIN_S = 0.1
_MOST_THREADS = 64
_SLICES = 16  # of a deadline, each of which counts for no more than it is
_seen_through: set[asyncio.Task[Any]] = set()


class Stoppable:
    """Runs coroutines in threads, each in a loop of its own, and ends them all when it is told to stop.

    A name that is being looked up is not waited for: that cannot be cut short, and takes as long as the resolver does.
    """

    def __init__(self) -> None:
        self._threads = DaemonThreads("stoppable", _MOST_THREADS)
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
        loop.set_default_executor(self._threads)

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


async def turned(work: asyncio.Future[Any], deadline_s: float) -> float | None:
    """Wait until `work` is done, `deadline_s` at most; return how long it took in seconds, None when it is not done.

    Only the time counts in which the event loop turns: a process that was busy itself has not read what came
    meanwhile, and does so some turns later. Each look at the clock is such a turn, and stands for a slice at most.
    """
    loop = asyncio.get_running_loop()
    slice_s = deadline_s / _SLICES
    took_s = 0.0
    for _ in range(_SLICES):
        began = loop.time()
        await asyncio.wait({work}, timeout=slice_s)
        took_s += min(loop.time() - began, slice_s)
        if work.done():
            return took_s
    return None


async def in_time(work: asyncio.Future[Any], deadline_s: float) -> bool:
    """Wait until `work` is done, `deadline_s` of turning at most; return whether it is."""
    return await turned(work, deadline_s) is not None
