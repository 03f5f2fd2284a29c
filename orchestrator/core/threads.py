"""Blocking work off the event loop, one thread at a time."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NamedTuple, ParamSpec, TypeVar

from orchestrator.core.errors import Busy

P = ParamSpec("P")
T = TypeVar("T")


class _Call(NamedTuple):
    function: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]  # belongs to the loop; the thread only looks whether it is done


class WorkerThread:
    """One thread that runs functions in turn, with a bounded queue in front of it.

    The thread lives as long as this object, so what belongs to a thread (a database connection) is
    opened once. An executor of the standard library would do the same for four times the time: its
    futures belong to no event loop, so each result passes through two of them and their locks.
    """

    def __init__(self, name: str, most_waiting: int = 1000) -> None:
        """`most_waiting` is how many calls there may be at once, with the one that is being made."""
        self._name = name
        self._most_waiting = most_waiting
        self._places = threading.Semaphore(most_waiting)
        self._calls: SimpleQueue[_Call | Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._is_closed = False

    async def run(self, deadline_s: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns.

        Raises Busy when too many wait already, TimeoutError when the result is not there within
        `deadline_s` seconds, RuntimeError after `close`. A call that was given up, for the deadline or
        because its caller was cancelled, is not made when it had not begun, and runs to its end when it
        had. Either way it counts until the thread is past it: it is still in the queue.
        """
        if self._is_closed:
            raise RuntimeError(f"The {self._name} thread has ended.")
        if not self._places.acquire(blocking=False):
            raise Busy(f"The {self._name} thread has {self._most_waiting} calls waiting; try again.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._calls.put(_Call(functools.partial(function, *args, **kwargs), loop, future))
        if self._thread is None:
            self._start()
        # Not asyncio.timeout, which cancels the task and takes it back: here nothing but the future waits.
        expiry = loop.call_later(deadline_s, _expire, future)
        try:
            return await future
        finally:
            expiry.cancel()

    def close(self, last: Callable[[], object] | None = None) -> None:
        """Finish what waits, run `last` in the thread, and end it. Again it does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        if last is not None:
            self._calls.put(last)
            self._start()
        self._calls.put(None)
        if self._thread is not None:
            self._thread.join()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if isinstance(call, _Call):
                self._make(call)
            else:
                call()
            del call  # what it holds must not live until the next one comes

    def _make(self, call: _Call) -> None:
        """The place is free before the caller hears, who may call again at once."""
        result, error = None, None
        if not call.future.done():
            try:
                result = call.function()
            except BaseException as raised:  # noqa: BLE001  # it is raised where the call came from
                error = raised
        self._places.release()
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            call.loop.call_soon_threadsafe(_settle, call.future, result, error)


def _expire(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())


def _settle(future: asyncio.Future[T], result: T, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
