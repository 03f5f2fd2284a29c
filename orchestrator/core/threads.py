"""Blocking work off the event loop, one thread at a time."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from orchestrator.core.errors import Busy

P = ParamSpec("P")
T = TypeVar("T")


# How long the work took that this task waited for last, in its thread or at the other end of its connection: seconds,
# without the wait for its turn before and for the event loop after. Those say how busy we are, not how well it does.
worked_s: ContextVar[float | None] = ContextVar("worked_s", default=None)


class _Call:
    """One call. Its future belongs to the loop; the thread only looks whether it is done."""

    __slots__ = ("began", "function", "future", "has_ended", "loop", "took_s")

    def __init__(self, function: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.function = function
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.began: float | None = None  # monotonic seconds
        self.has_ended = False
        self.took_s = 0.0

    def make(self) -> tuple[Any, BaseException | None]:
        """In the thread. What came of it, unless it was given up before."""
        if self.future.done():
            return None, None
        self.began = time.monotonic()
        try:
            return self.function(), None
        except StopIteration as error:  # it would end whoever waits, without a word
            return None, RuntimeError(f"{error!r} was raised in a thread")
        except BaseException as error:  # noqa: BLE001  # it is raised where the call came from
            return None, error
        finally:
            self.took_s = time.monotonic() - self.began
            self.has_ended = True


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
        self._current: _Call | None = None
        self._starting = threading.Lock()
        self._is_closed = False

    async def run(self, deadline_s: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns.

        Raises TimeoutError when the result is not there within `deadline_s` seconds; Busy when that is
        because its turn has not come though no call before it took that long, and when too many wait
        already; RuntimeError after `close`. A call that was given up, for the deadline or because its
        caller was cancelled, is not made when it had not begun, and runs to its end when it had. Either
        way it counts until the thread is past it: it is still in the queue.
        """
        if self._is_closed:
            raise RuntimeError(f"The {self._name} thread has ended.")
        if not self._places.acquire(blocking=False):
            raise Busy(f"The {self._name} thread has {self._most_waiting} calls waiting; try again.")
        loop = asyncio.get_running_loop()
        call = _Call(functools.partial(function, *args, **kwargs), loop)
        self._calls.put(call)
        if self._thread is None:
            self._start()
        # Not asyncio.timeout, which cancels the task and takes it back: here nothing but the future waits.
        expiry = loop.call_later(deadline_s, self._expire, call, deadline_s)
        try:
            result: T = await call.future
        finally:
            expiry.cancel()
            worked_s.set(call.took_s if call.has_ended else None)
        return result

    def _expire(self, call: _Call, deadline_s: float) -> None:
        if call.future.done() or call.has_ended:  # the loop was busy meanwhile, and the result is on its way
            return
        current = self._current
        is_stuck = current is not None and current.began is not None and time.monotonic() - current.began >= deadline_s
        if call.began is not None or is_stuck:
            call.future.set_exception(TimeoutError())
        else:
            call.future.set_exception(Busy(f"The {self._name} thread has had no time for it; try again."))

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
        self._current = call
        result, error = call.make()
        self._current = None
        self._places.release()
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            call.loop.call_soon_threadsafe(_settle, call.future, result, error)


def _settle(future: asyncio.Future[T], result: T, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
