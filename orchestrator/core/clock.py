"""The time, passed in so that a test can set it."""

import time


class Clock:
    """The machine's clocks: `now` for stamps people read, `monotonic` for everything that is measured."""

    def now(self) -> float:
        """Seconds since the epoch, UTC. It may jump; never subtract two of them."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that only move forward, from an arbitrary start."""
        return time.monotonic()
