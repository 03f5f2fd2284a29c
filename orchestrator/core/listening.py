"""Sockets in the file system, at which one process of this machine listens for the others."""

from __future__ import annotations

import contextlib
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

BACKLOG = 1024


@contextlib.contextmanager
def listening_at(path: Path) -> Iterator[socket.socket]:
    """A socket at `path`, in place of one that a dead process left there.

    Raises RuntimeError when somebody is listening.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(ConnectionRefusedError):
            probe.settimeout(1)
            probe.connect(str(path))
            raise RuntimeError(f"Another process listens on {path}; stop it first")
        path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(BACKLOG)
        mine = path.stat().st_ino
        try:
            yield listening
        finally:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == mine:
                    path.unlink()
