"""Threads that nobody waits for: neither an event loop that is closed, nor a process that ends."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DaemonThreads(ThreadPoolExecutor):  # an event loop takes no other kind
    """For what cannot be cut short, as to look a name up where the resolver is dead. It outlives the loops it serves.

    There are `most` threads at most. What comes while all are at work waits for one; it is left out where it was given
    up meanwhile, so nothing piles up. A thread ends when nothing waits.
    """

    def __init__(self, name: str, most: int) -> None:
        super().__init__(1)  # which is never begun
        self._name, self._most = name, most
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._at_work = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Called by the event loop."""
        future: Future[T] = Future()
        with self._lock:
            self._waiting = deque(one for one in self._waiting if not one[0].cancelled())
            self._waiting.append((future, partial(fn, *args, **kwargs)))
            if self._at_work < self._most:
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
                self._at_work += 1
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Called by each event loop at its end. What it had begun goes on, and nobody hears of it."""

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._at_work -= 1
                    return
                future, work = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    result = work()
                except BaseException as error:  # noqa: BLE001  # it is raised where the call came from
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del future, work  # what they hold must not live until the next one comes
