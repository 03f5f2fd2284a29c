"""One supervisor for each role and data directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.env import BadSetting


@contextmanager
def role_lock(folder: Path, role: str) -> Iterator[None]:
    """Hold the right to run `role` on the data directory that `folder` belongs to.

    The kernel gives the lock back when this process ends, however it ends. Raises BadSetting,
    naming the process, when another holds it.
    """
    path = folder / f"{role}.lock"
    lock = _locked(path, role)
    try:
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is still held
        os.close(lock)


def _locked(path: Path, role: str) -> int:
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(lock).st_ino == path.stat().st_ino:
                return lock  # else whoever held it has just removed the file
        except BlockingIOError:
            holder = os.read(lock, 20).decode().strip()
            os.close(lock)
            raise BadSetting(
                f"{path.parent.parent} is in use: its {role} is already run by process {holder or 'unknown'}. "
                "Stop that one, or give this one an ORCHESTRATOR_DATA_DIR of its own."
            ) from None
        except FileNotFoundError:
            pass
        os.close(lock)
