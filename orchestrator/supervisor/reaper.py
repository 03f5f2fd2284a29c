"""Collects every process that ended, so that none stays behind as a zombie.

As the first process of a container the supervisor also inherits orphans it never started. So it
asks for any ended process, and `subprocess` must not wait for its own in the same program.
"""

import asyncio
import os


class Reaper:
    """Tells who waits for a process how it ended. Call `reap` on SIGCHLD."""

    def __init__(self) -> None:
        self._expected: dict[int, asyncio.Future[int]] = {}

    def expect(self, pid: int) -> asyncio.Future[int]:
        """A future of the exit code of `pid`; minus the signal's number when one killed it."""
        return self._expected.setdefault(pid, asyncio.get_running_loop().create_future())

    def reap(self) -> None:
        """Collect what has ended since the last time."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:  # no children at all
                return
            if pid == 0:
                return
            future = self._expected.pop(pid, None)
            if future is not None and not future.done():
                future.set_result(os.waitstatus_to_exitcode(status))
