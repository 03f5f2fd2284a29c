"""Whether the Celery worker does its work: the clock goes on, and what waits in the queue is taken.

A worker whose loop lost its connection may not notice: Redis is there, the clock fills the queue,
and nobody takes anything out of it until the process is started anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable

DEAF_S = 5.0
CLOCK_SILENT_S = 60.0  # with a Redis that hangs, the clock may wait for half of it in one go


class Liveness:
    """What the threads of a worker tell, and what follows from it.

    monotonic   where the time comes from, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._running: set[str] = set()
        self._took_at = self._ticked_at = monotonic()

    def take(self) -> None:
        """A task was taken from the queue."""
        self._took_at = self._monotonic()

    def begin(self, task: str) -> None:
        """The task with this id is begun, by a thread that begins no other meanwhile."""
        self._running.add(task)

    def finish(self, task: str) -> None:
        """It has ended, in whatever way."""
        self._running.discard(task)
        self.take()

    def tick(self) -> None:
        """The clock has looked what is due."""
        self._ticked_at = self._monotonic()

    def is_alive(self, waiting: Callable[[], int]) -> bool:
        """Whether it does its work, as far as can be told from outside.

        waiting   how many tasks are in the queue. It is asked only when none was taken for DEAF_S and
                  none is under way: where several machines share a queue, another may have taken them all.
        """
        now = self._monotonic()
        if now - self._ticked_at > CLOCK_SILENT_S:
            return False
        if self._running or now - self._took_at <= DEAF_S:
            return True
        return waiting() == 0
