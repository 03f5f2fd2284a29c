"""Which processes that made holds are alive: each has a file under `run/holds`, locked for as long as it lives.

The kernel lets go of the lock when a process ends, in whatever way. So there are no heartbeats, no clocks and no
process numbers that come again.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ENDING = ".alive"


class Life:
    """That this process lives."""

    def __init__(self, folder: Path) -> None:
        """Others look into `folder`, too. Raises OSError."""
        self.holder = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._path = folder / f"{self.holder}{ENDING}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            if _is_there(self._path, self._file):
                return
            os.close(self._file)  # somebody took it for one that was left behind, before it was locked

    def end(self, *, is_empty: bool) -> None:
        """It is over; where holds are left, so is the file that tells whose they are."""
        if is_empty:
            self._path.unlink(missing_ok=True)
        os.close(self._file)


@contextmanager
def dead(folder: Path, holder: str) -> Iterator[bool]:
    """Whether a process is gone; if so, nobody else is told the same meanwhile."""
    try:
        file = os.open(folder / f"{holder}{ENDING}", os.O_RDWR)
    except FileNotFoundError:
        yield True  # nobody unlinks it whose holds are not charged; whoever else charges them does it once
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)


def forget(folder: Path, holder: str) -> None:
    """A process is gone, and its holds are charged."""
    (folder / f"{holder}{ENDING}").unlink(missing_ok=True)


def left_behind(folder: Path) -> Iterable[str]:
    """The processes that have a file, alive or not."""
    with suppress(FileNotFoundError):
        for path in folder.glob(f"*{ENDING}"):
            yield path.name.removesuffix(ENDING)


def _is_there(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False
