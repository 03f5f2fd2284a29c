"""The cache's SQLite file: opened without ceremony, replaced when it is damaged."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from django.db import DatabaseError, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import load_backend

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_REPAIR_S = 10.0
_KEPT_ASIDE = 2  # damaged files; older ones are deleted

logger = logging.getLogger(__name__)


class CacheFile:
    """A connection to the file at `path`, for one thread. It notices when another file has taken its place."""

    def __init__(self, path: Path, busy_s: float) -> None:
        """`busy_s` is how long a statement waits for another writer."""
        self.path = path
        self._busy_s = busy_s
        self._connection: sqlite3.Connection | None = None
        self.inode: tuple[int, int] | None = None  # of the file that is or was open

    def connection(self) -> sqlite3.Connection:
        """The connection, in autocommit mode. Raises sqlite3.OperationalError when there is no file."""
        if self._connection is not None and _inode(self.path) == self.inode:
            return self._connection
        self.close()
        self.inode = _inode(self.path)
        # mode=rw: an empty file made here by accident would look like a cache without tables.
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=self._busy_s,
            isolation_level=None,
            check_same_thread=False,  # closed from elsewhere once its thread has ended
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA journal_size_limit=67108864")
        except sqlite3.Error:
            connection.close()
            raise
        self._connection = connection
        return connection

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def repair(self, error: sqlite3.Error, inode: tuple[int, int] | None) -> bool:
        """Make the file usable again after `error`, met in the file `inode`. Return whether that is what it said.

        A damaged file is set aside, as `….corrupt-<time>`; a missing one is made anew, and so are
        missing tables. Safe when several processes come here at once.
        Raises sqlite3.Error or OSError when that cannot be done now.
        """
        is_damaged = _code(error) in _DAMAGED
        if not is_damaged and "no such table" not in str(error) and _inode(self.path) is not None:
            return False
        self.close()
        with _only_one(self.path.with_name(self.path.name + ".lock")):
            if is_damaged and _inode(self.path) == inode:  # else somebody else was faster
                aside = _set_aside(self.path)
                logger.error("The cache file was damaged (%s) and is now %s; starting with an empty one.", error, aside)
            migrate(self.path)
        return True


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Take the writer's lock now, not at the first write, when it could no longer be waited for."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # some errors have rolled it back already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def stamp(seconds: float) -> str:
    """A time as Django writes it into SQLite; texts of this form sort as the times do."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def migrate(path: Path) -> None:
    """Bring the tables in the file at `path` up to date, as `manage.py migrate --database cache` does.

    Raises sqlite3.Error when the file cannot be written.
    """

    def run() -> None:
        # Django finds connections by alias and thread, so a thread of its own can give "cache" another file.
        backend = load_backend("django.db.backends.sqlite3")
        connection = backend.DatabaseWrapper({**connections.settings["cache"], "NAME": str(path)}, "cache")
        connections["cache"] = connection
        try:
            executor = MigrationExecutor(connection)
            executor.migrate([node for node in executor.loader.graph.leaf_nodes() if node[0] == "cache"])
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="cache-migrate") as threads:
        try:
            threads.submit(run).result()
        except DatabaseError as error:  # Django's own; here everything else speaks sqlite3
            raise sqlite3.OperationalError(f"no tables could be made: {error}") from error


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _code(error: sqlite3.Error) -> int:
    """The primary result code: the extended ones say more than is needed here."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _set_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.corrupt-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    # The database itself goes last: a new file beside an old log would be given the old log's pages.
    for suffix in ("-wal", "-shm", ""):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(aside.with_name(aside.name + suffix))
    for old in sorted(path.parent.glob(f"{path.name}.corrupt-*Z"))[:-_KEPT_ASIDE]:
        for suffix in ("-wal", "-shm", ""):
            old.with_name(old.name + suffix).unlink(missing_ok=True)
    return aside


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """One process at a time, in this block. Raises TimeoutError when it takes too long to be one's turn."""
    file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        give_up = time.monotonic() + _REPAIR_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise TimeoutError(f"Another process has been repairing {lock.stem} for {_REPAIR_S:g} s.") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(file)
