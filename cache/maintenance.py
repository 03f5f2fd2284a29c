"""What the cache file needs now and then."""

import sqlite3
import time
from pathlib import Path

from django.conf import settings

from cache.database import CacheFile, stamp, transaction
from cache.purges import oldest_that_matters

_BATCH = 500  # rows per transaction, so that nobody waits long for the lock
_BUSY_S = 5.0
_BUDGET_S = 60.0  # what is left over is for the next time
_PAGES = 2000  # given back to the file system each time; 8 MB

_EXPIRED = (
    "DELETE FROM cache_cacheentry WHERE rowid IN"
    " (SELECT rowid FROM cache_cacheentry WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)"
)


def expire(now: float) -> int:
    """Delete answers that expired by `now` (seconds since the epoch), and return how many.

    Also deletes the record of purges that are older than any answer, and gives free pages back to
    the file system. Raises sqlite3.Error when the file cannot be written; then the next time will do.
    """
    file = CacheFile(Path(str(settings.DATABASES["cache"]["NAME"])), _BUSY_S)
    try:
        connection = file.connection()
        expired = _delete_expired(connection, stamp(now))
        with transaction(connection):
            connection.execute("DELETE FROM cache_purge WHERE at < ?", (stamp(oldest_that_matters(now)),))
        connection.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
        return expired
    finally:
        file.close()


def _delete_expired(connection: sqlite3.Connection, now: str) -> int:
    give_up = time.monotonic() + _BUDGET_S
    expired = 0
    while True:
        with transaction(connection):
            deleted = connection.execute(_EXPIRED, (now, _BATCH)).rowcount
        expired += deleted
        if deleted < _BATCH or time.monotonic() > give_up:
            return expired
