"""The sign of life that a process gives to its supervisor, over a pipe."""

from __future__ import annotations

import contextlib
import os

FD_VARIABLE = "ORCHESTRATOR_PULSE_FD"  # where the supervisor says which of its files it is


class Heart:
    """The end of the process that lives; does nothing when no supervisor listens."""

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
