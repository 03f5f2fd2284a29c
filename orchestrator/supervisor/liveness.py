"""Whether the Celery worker does its work: the clock goes on, what waits in the queue is taken, and tasks end."""

from __future__ import annotations

import time
from collections.abc import Callable

DEAF_S = 5.0
CLOCK_SILENT_S = 15.0  # it looks every few seconds
LONGEST_TASK_S = 1800.0  # each is bounded by itself, by minutes at most


class Liveness:
    """What the threads of a worker tell, and what follows from it.

    monotonic   where the time comes from, in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._running: dict[str, float] = {}  # since when
        self._took_at = self._ticked_at = monotonic()

    def take(self) -> None:
        """A task was taken from the queue, or could be from now on."""
        self._took_at = self._monotonic()

    def begin(self, task: str) -> None:
        """The task with this id is begun, by a thread that begins no other meanwhile."""
        self._running[task] = self._monotonic()

    def finish(self, task: str) -> None:
        """It has ended, in whatever way."""
        self._running.pop(task, None)
        self.take()

    def tick(self) -> None:
        """The clock has looked what is due."""
        self._ticked_at = self._monotonic()

    def ails(self, waiting: int) -> str:
        """What keeps it from its work, as far as can be told from outside; empty while nothing does.

        waiting   how many tasks are in the queue.
        """
        now = self._monotonic()
        if now - self._ticked_at > CLOCK_SILENT_S:
            return f"its clock stands still for {now - self._ticked_at:.0f} s"
        running = tuple(self._running.values())
        if running and now - min(running) > LONGEST_TASK_S:
            return f"a task does not end for {now - min(running):.0f} s"
        if waiting and not running and now - self._took_at > DEAF_S:
            return f"nothing is taken from its queue for {now - self._took_at:.0f} s, where {waiting:,} wait"
        return ""
