"""A counter that all processes of this machine see without asking anybody."""

import fcntl
import mmap
import os
import struct
import threading
import time
from pathlib import Path

_COUNTER = struct.Struct("=Q")
_LOCK_S = 1.0


class Generation:
    """Goes up with every purge. What was found under an older one no longer counts.

    A file of 8 bytes, mapped into the memory of every process that uses it: reading it costs about
    as much as calling a function.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size < _COUNTER.size:
            os.ftruncate(self._file, _COUNTER.size)  # with zeros; the same whoever comes first
        self._memory = mmap.mmap(self._file, _COUNTER.size)
        self._among_threads = threading.Lock()

    def current(self) -> int:
        """The count now."""
        value: int = _COUNTER.unpack_from(self._memory)[0]
        return value

    def bump(self) -> int:
        """Count up, and return the new count. Waits for other processes, so not for an event loop.

        Raises TimeoutError when another process holds the file's lock for a second: it is stopped
        in the middle of this function. ValueError after `close`.
        """
        with self._among_threads:
            if self._memory.closed:
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
                value = self.current() + 1
                _COUNTER.pack_into(self._memory, 0, value)
                return value
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file, once nobody is counting up."""
        with self._among_threads:
            self._memory.close()
            os.close(self._file)
