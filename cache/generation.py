"""Two counters that all processes of this machine see without asking anybody."""

import fcntl
import mmap
import os
import threading
import time
from pathlib import Path

_SIZE = 16  # bytes: two counters of eight
_ANSWERS, _POLICY = 0, 1
_LOCK_S = 1.0


class Generation:
    """What is remembered counts only as long as the counter it was remembered under stays the same.

    One counter goes up with every purge, the other with every change of who may do what: keys,
    tenants, limits, rules, prices. They are a file of 16 bytes, mapped into the memory of every
    process that uses it: reading one costs about as much as calling a function.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size < _SIZE:
            os.ftruncate(self._file, _SIZE)  # with zeros; the same whoever comes first
        self._memory = mmap.mmap(self._file, _SIZE)
        self._counts = memoryview(self._memory).cast("Q")
        self._among_threads = threading.Lock()
        self._is_closed = False

    def current(self) -> int:
        """The count of purges now."""
        return self._counts[_ANSWERS]

    def policy(self) -> int:
        """The count of changes of policy now."""
        return self._counts[_POLICY]

    def bump(self) -> int:
        """Count a purge, and return the new count. Waits for other processes, so not for an event loop.

        Raises TimeoutError when another process holds the file's lock for a second: it is stopped
        in the middle of this function. ValueError after `close`.
        """
        return self._count_up(_ANSWERS)

    def bump_policy(self) -> int:
        """Count a change of policy, once it is committed. Otherwise as `bump`."""
        return self._count_up(_POLICY)

    def close(self) -> None:
        """Let go of the file, once nobody is counting up. Reading a count is a ValueError from then on."""
        with self._among_threads:
            if self._is_closed:
                return
            self._is_closed = True
            self._counts.release()
            self._memory.close()
            os.close(self._file)

    def _count_up(self, which: int) -> int:
        with self._among_threads:
            if self._is_closed:
                raise ValueError("The generation file is closed.")
            give_up = time.monotonic() + _LOCK_S
            while True:
                try:
                    fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > give_up:
                        raise TimeoutError("The generation file is locked by another process.") from None
                    time.sleep(0.001)
            try:
                value = self._counts[which] + 1
                self._counts[which] = value
                return value
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
