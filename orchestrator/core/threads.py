"""Blocking work off the event loop, one thread at a time."""

import asyncio
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
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
        """`most_waiting` is how many calls there may be at once, with the one that is being made."""
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._name = name
        self._most_waiting = most_waiting
        self._places = threading.Semaphore(most_waiting)

    async def run(self, deadline_s: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns.

        Raises Busy when too many wait already, TimeoutError when the result is not there within
        `deadline_s` seconds. A call that was given up, for that or because its caller was cancelled,
        is not made when it had not begun, and runs to its end when it had. Either way it counts until
        the thread is past it: it is still in the queue.
        """
        if not self._places.acquire(blocking=False):
            raise Busy(f"The {self._name} thread has {self._most_waiting} calls waiting; try again.")
        # Not the executor's own future: when that is cancelled, nobody learns when it leaves the queue.
        call: Future[T] = Future()
        self._executor.submit(self._make, call, functools.partial(function, *args, **kwargs))
        return await asyncio.wait_for(asyncio.wrap_future(call), deadline_s)

    def _make(self, call: Future[T], function: Callable[[], T]) -> None:
        """In the thread. The place is free before the caller hears, who may call again at once."""
        if not call.set_running_or_notify_cancel():
            self._places.release()
            return
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001  # it is raised where the call came from
            self._places.release()
            call.set_exception(error)
        else:
            self._places.release()
            call.set_result(result)

    def close(self, last: Callable[[], object] | None = None) -> None:
        """Finish what waits, run `last` in the thread, and end it."""
        if last is not None:
            self._executor.submit(last)
        self._executor.shutdown(wait=True)
