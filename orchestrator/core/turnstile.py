"""Turns at something that one at a time may do, among all threads and processes of a machine.

The kernel keeps them, by locks on two files, and takes them back from a process that is gone. Nobody is passed by
again and again: who is next holds the first lock while it waits for the second, and who had a turn has to queue for
the first.
"""

from __future__ import annotations

import fcntl
import os
import time
import weakref
from pathlib import Path

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.0002, 0.002  # between two looks: a lock that is waited for in the kernel has no end


class Turnstile:
    """One that waits and passes. Threads have one each: what is open here is locked by whoever opened it."""

    def __init__(self, path: Path) -> None:
        """`path` is what the turns are about; the files lie beside it. Raises OSError."""
        self._next = os.open(f"{path}-next", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self._turn = os.open(f"{path}-turn", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            os.close(self._next)
            raise
        self._close = weakref.finalize(self, _close, self._next, self._turn)  # also when it is merely let go

    def take(self, within_s: float) -> bool:
        """Wait for a turn, in a thread; False when it has not come within `within_s`."""
        give_up = time.monotonic() + within_s
        if not _lock(self._next, give_up):
            return False
        try:
            return _lock(self._turn, give_up)
        finally:
            fcntl.flock(self._next, fcntl.LOCK_UN)

    def leave(self) -> None:
        """The turn is over."""
        fcntl.flock(self._turn, fcntl.LOCK_UN)

    def close(self) -> None:
        """Leave for good."""
        self._close()


def _close(*files: int) -> None:
    for file in files:
        os.close(file)


def _lock(file: int, give_up: float) -> bool:
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up:
                return False
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
        else:
            return True
