"""A sign of life over a pipe: the child writes a byte now and then, the supervisor sees when.

The first byte says that the child is ready. One that goes silent hangs, and is worth a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

FD_VARIABLE = "ORCHESTRATOR_PULSE_FD"


class Pulse:
    """The supervisor's end."""

    def __init__(self) -> None:
        self._reader, self.child_end = os.pipe()
        os.set_blocking(self._reader, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._reader, self._beat)
        self._last = time.monotonic()
        self.started = asyncio.Event()

    def _beat(self) -> None:
        if not os.read(self._reader, 4096):  # the child closed its end
            self._loop.remove_reader(self._reader)
            return
        self._last = time.monotonic()
        self.started.set()

    @property
    def silent_s(self) -> float:
        """Seconds since the last sign of life, or since the beginning."""
        return time.monotonic() - self._last

    def close_child_end(self) -> None:
        """The child has its own copy now."""
        os.close(self.child_end)

    def close(self) -> None:
        """The child has ended."""
        self._loop.remove_reader(self._reader)
        os.close(self._reader)


class Heart:
    """The child's end; does nothing when no supervisor listens."""

    def __init__(self) -> None:
        self._fd = int(os.environ.pop(FD_VARIABLE, "-1"))
        if self._fd >= 0:
            os.set_inheritable(self._fd, False)
            os.set_blocking(self._fd, False)

    def beat(self) -> None:
        """Give a sign of life."""
        if self._fd >= 0:
            # A full pipe means that the supervisor is slow, a broken one that it is gone; the
            # kernel ends this process in the second case, and neither is this process's concern.
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                os.write(self._fd, b".")
