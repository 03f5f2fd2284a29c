"""A sign of life over a pipe: the child writes a byte now and then, the supervisor sees when.

What the child does is in `orchestrator.core.heart`. The first byte says that it is ready. One that goes silent hangs,
and is worth a restart.
"""

from __future__ import annotations

import asyncio
import os
import time


class Pulse:
    """The supervisor's end."""

    def __init__(self) -> None:
        self._reader, self.child_end = os.pipe()
        os.set_blocking(self._reader, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reader, self._beat)
        self._counted_at = time.monotonic()
        self.silent_s = 0.0  # as far as it was counted
        self.started = self._loop.create_future()

    def _beat(self) -> None:
        if not os.read(self._reader, 4096):  # the child closed its end
            self._loop.remove_reader(self._reader)
            return
        self._counted_at, self.silent_s = time.monotonic(), 0.0
        if not self.started.done():
            self.started.set_result(None)

    def count(self, most_s: float) -> float:
        """Add the time since the last count, or sign of life, to the silence, and return that in seconds.

        most_s   what it adds at most. While the supervisor itself stands still, as with the whole machine, nobody can
                 be heard, so only the time counts in which it looks.
        """
        now = time.monotonic()
        self.silent_s += min(now - self._counted_at, most_s)
        self._counted_at = now
        return self.silent_s

    def close_child_end(self) -> None:
        """The child has its own copy now."""
        os.close(self.child_end)

    def close(self) -> None:
        """The child has ended."""
        self._loop.remove_reader(self._reader)
        os.close(self._reader)
