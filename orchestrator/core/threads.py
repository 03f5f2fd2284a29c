"""Blocking work off the event loop, one thread at a time."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from orchestrator.core.errors import Busy

P = ParamSpec("P")
T = TypeVar("T")


class WorkerThread:
    """One thread that runs functions in turn, with a bounded queue in front of it.

    The thread lives as long as this object, so what belongs to a thread (a database connection) is
    opened once.
    """

    def __init__(self, name: str, most_waiting: int = 1000) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._name = name
        self._most_waiting = most_waiting
        self._waiting = 0

    async def run(self, deadline_s: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns.

        Raises Busy when too many wait already, TimeoutError when the result is not there within
        `deadline_s` seconds (the function still runs to its end).
        """
        if self._waiting >= self._most_waiting:
            raise Busy(f"The {self._name} thread has {self._waiting} calls waiting; try again.")
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._executor, lambda: function(*args, **kwargs))
        future.add_done_callback(self._left)
        return await asyncio.wait_for(future, deadline_s)

    def _left(self, _: object) -> None:
        self._waiting -= 1

    def close(self, last: Callable[[], object] | None = None) -> None:
        """Finish what waits, run `last` in the thread, and end it."""
        if last is not None:
            self._executor.submit(last)
        self._executor.shutdown(wait=True)
