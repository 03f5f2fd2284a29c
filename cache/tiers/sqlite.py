"""The tier that survives a restart: answers in a SQLite file of this machine's own.

The table is Django's (`cache.models`), for migrations and the admin. Requests read and write it with
prepared SQL on connections of this tier's own, each in a thread of its own: eight times as fast as
the ORM, and a writer that waits for a lock keeps no reader waiting.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from cache import purge_rows
from cache.codec import BadEntry, decode, encode
from cache.database import CacheFile, stamp, transaction
from cache.entries import CacheKey, Entry, Holding, Scope
from cache.purges import Place, Purge
from cache.tiers.base import SWEEP_S, TierUnavailable
from cache.weight import weigh
from orchestrator.core.clock import Clock
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.threads import WorkerThread

READ_S = 0.25
_WRITE_S = 30.0  # a batch; the lock is waited for much less long
_BUSY_S = 1.0
_BATCH = 200  # rows per transaction, so that other processes get their turn
_GATHER_S = 0.02  # how long a batch is gathered: past the moment when the record of the same answer is written
_MOST_PENDING = 5000  # answers waiting to be written
_MOST_PENDING_BYTES = 64 * 1024**2
_PAUSES_S = (0.25, 0.5, 1.0, 2.0, 4.0)  # between attempts to write

_SELECT = "SELECT body FROM cache_cacheentry WHERE hash = ? AND tenant_id = ?"
_DELETE = "DELETE FROM cache_cacheentry WHERE hash = ? AND tenant_id = ?"
_UPSERT = (
    "INSERT INTO cache_cacheentry (hash, tenant_id, namespace, model, created_at, expires_at, size, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (hash) DO UPDATE SET"
    " created_at = excluded.created_at, expires_at = excluded.expires_at, size = excluded.size, body = excluded.body"
    " WHERE excluded.created_at >= cache_cacheentry.created_at AND excluded.tenant_id = cache_cacheentry.tenant_id"
)
# The oldest of whoever keeps most: a tenant that floods the file drives out its own.
_EVICT = (
    "DELETE FROM cache_cacheentry WHERE rowid IN (SELECT rowid FROM cache_cacheentry WHERE tenant_id ="
    " (SELECT tenant_id FROM cache_tenantholding WHERE entries > 0 ORDER BY bytes DESC, tenant_id LIMIT 1)"
    " ORDER BY created_at LIMIT ?)"
)
# A tenant's oldest, as many of the next few as are needed to be rid of so many bytes.
_TRIM = (
    "DELETE FROM cache_cacheentry WHERE tenant_id = ? AND rowid IN (SELECT number FROM"
    " (SELECT number, sum(size) OVER (ORDER BY created_at, number) - size AS older FROM"
    " (SELECT rowid AS number, size, created_at FROM cache_cacheentry WHERE tenant_id = ?"
    " ORDER BY created_at, rowid LIMIT ?)) WHERE older < ?)"
)
_HELD = "SELECT entries, bytes FROM cache_tenantholding WHERE tenant_id = ?"

T = TypeVar("T")
logger = logging.getLogger(__name__)


class SQLiteTier:
    """Keeps answers on disk, up to a number of bytes; the oldest of the tenant that keeps most go first.

    A tenant with an allowance keeps no more than that: its own oldest go.

    `put` returns when the answer is in line to be written, and `get` finds it there. Lines are
    written in batches; while they cannot be (locked, full), they wait, up to a bound.
    """

    name = "sqlite"
    is_shared = False

    def __init__(self, path: Path, clock: Clock, limit: int) -> None:
        """`limit` is how much of the file may be in use, in bytes."""
        self.deadline_s: float | None = READ_S
        self.invalid = 0
        self._clock = clock
        self._limit = limit
        self._reading = CacheFile(path, READ_S)
        self._writing = CacheFile(path, _BUSY_S)
        self._reader = WorkerThread("cache-sqlite-read", most_waiting=256)
        self._writer = WorkerThread("cache-sqlite-write", most_waiting=64)
        self._pending: dict[str, tuple[Entry, int]] = {}  # hash → answer, bytes
        self._pending_bytes = 0
        self._flushing: asyncio.Task[None] | None = None
        self._repairing: asyncio.Task[None] | None = None
        self._dropping: asyncio.Task[None] | None = None
        self._is_closing = asyncio.Event()

    async def get(self, key: CacheKey) -> Entry | None:
        """Return the answer under `key` while it is fresh. Raises TierUnavailable, TimeoutError or Busy."""
        pending = self._pending.get(key.hash)
        if pending is not None:
            entry: Entry | None = pending[0]
        else:
            try:
                entry = await self._read(READ_S, self._select, key)
            except BadEntry:
                self.invalid += 1
                if self._dropping is None or self._dropping.done():
                    self._dropping = asyncio.create_task(self._drop(key))
                return None
        return entry if entry is not None and entry.is_fresh(self._clock.now()) else None

    async def put(self, entry: Entry) -> bool:
        """Keep `entry`, so that the next `get` finds it. Raises TierUnavailable when too many wait to be written."""
        size = weigh(entry)
        if len(self._pending) >= _MOST_PENDING or self._pending_bytes + size > _MOST_PENDING_BYTES:
            raise TierUnavailable(f"The cache file cannot be written; {len(self._pending)} answers wait already.")
        self._forget_pending(entry.key.hash)
        self._pending[entry.key.hash] = entry, size
        self._pending_bytes += size
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        return True

    async def purge(self, scope: Scope) -> int:
        """Drop every answer in `scope`, and return how many. Raises TierUnavailable when some may be left."""
        waiting = [entry.key for entry, _ in self._pending.values() if scope.matches(entry.key)]
        for key in waiting:
            self._forget_pending(key.hash)
        # In the writer's thread, so after a batch that is being written now.
        return await self._write(SWEEP_S, self._sweep, scope, waiting, time.monotonic() + SWEEP_S)

    async def holding(self, scope: Scope) -> Holding:
        """Count what is written of `scope`. Raises as `purge` does."""
        # A connection of its own, because counting may take a while and `get` should not wait for it.
        return await asyncio.wait_for(asyncio.to_thread(self._count, scope), SWEEP_S)

    async def record_purges(self, purges: Sequence[Purge]) -> list[Purge]:
        """Write down those of `purges` that are not yet, and return them. Raises TierUnavailable, as all below."""
        return await self._record(purge_rows.record, purges)

    async def recorded_purges(self) -> list[Purge]:
        """Every purge that is written down."""
        return await self._recorded(purge_rows.recorded)

    async def unsent_purges(self) -> list[Purge]:
        """Those that other machines are still to be told."""
        return await self._recorded(purge_rows.unsent)

    async def purges_were_sent(self, ids: Sequence[str]) -> None:
        """Note that other machines can hear of them now."""
        await self._record(purge_rows.were_sent, ids)

    async def take_due_purges(self, now: float, until: float) -> list[Purge]:
        """Those that are to be swept again by `now`, from when they count; nobody else gets them before `until`."""
        return await self._record(purge_rows.take_due, now, until)

    async def purges_were_swept(self, ids: Sequence[str]) -> None:
        """Note that they need not be swept again."""
        await self._record(purge_rows.were_swept, ids)

    async def place(self) -> Place:
        """How far this machine has heard what others purged."""
        return await self._recorded(purge_rows.place)

    async def keep_place(self, place: Place) -> None:
        """Note how far that is."""
        await self._record(purge_rows.keep_place, place)

    def forget(self) -> None:
        """Nothing: what waits to be written is older than the purge, and the record of purges hides it."""

    async def aclose(self) -> None:
        """Write what waits to be written, once more if it could not be, and end the threads."""
        if self._is_closing.is_set():
            return
        self._is_closing.set()
        for task in (self._flushing, self._repairing, self._dropping):
            if task is not None:
                await asyncio.wait({task}, timeout=_WRITE_S)
        await asyncio.to_thread(self._reader.close, self._reading.close)
        await asyncio.to_thread(self._writer.close, self._writing.close)

    # On the event loop

    async def _read(self, deadline_s: float, function: Callable[..., T], *args: object) -> T:
        try:
            return await self._reader.run(deadline_s, function, *args)
        except sqlite3.Error as error:
            # Only the writer repairs: it does one thing at a time. Nobody waits for it.
            if self._repairing is None or self._repairing.done():
                self._repairing = asyncio.create_task(self._repair(error, self._reading.inode))
            raise TierUnavailable(f"The cache file cannot be read: {error}") from error

    async def _repair(self, error: sqlite3.Error, inode: tuple[int, int] | None) -> None:
        try:
            await self._writer.run(_WRITE_S, self._writing.repair, error, inode)
        except (sqlite3.Error, OSError, OrchestratorError) as trouble:
            logger.warning("The cache file cannot be repaired for now: %s", trouble)

    async def _drop(self, key: CacheKey) -> None:
        try:
            await self._write(_WRITE_S, self._delete, key)
        except OrchestratorError as error:
            logger.warning("A damaged answer cannot be deleted from the cache file: %s", error)

    async def _write(self, deadline_s: float, function: Callable[..., T], *args: object) -> T:
        try:
            return await self._writer.run(deadline_s, self._repaired, function, *args)
        except TimeoutError:
            raise TierUnavailable(f"The cache file could not be written within {deadline_s:g} s.") from None
        except (sqlite3.Error, OSError) as error:
            raise TierUnavailable(f"The cache file cannot be written: {error}") from error

    async def _record(self, function: Callable[..., T], *args: object) -> T:
        return await self._write(SWEEP_S, lambda: function(self._writing.connection(), *args))

    async def _recorded(self, function: Callable[[sqlite3.Connection], T]) -> T:
        return await self._read(READ_S, lambda: function(self._reading.connection()))

    async def _flush(self) -> None:
        """Write what waits, a batch at a time; while that fails, try again less and less often."""
        failures = 0
        while self._pending:
            if len(self._pending) < _BATCH and not failures:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._is_closing.wait(), _GATHER_S)
            batch = [entry for entry, _ in list(self._pending.values())[:_BATCH]]
            try:
                self.invalid += await self._write(_WRITE_S, self._upsert, batch)
            except OrchestratorError as error:
                if not failures:
                    logger.warning("The cache file takes no more answers for now: %s", error)
                failures += 1
                if self._is_closing.is_set():
                    logger.warning("%d answers were not written to the cache file.", len(self._pending))
                    return
                await asyncio.sleep(_PAUSES_S[min(failures, len(_PAUSES_S)) - 1])
                continue
            if failures:
                logger.warning("The cache file takes answers again.")
                failures = 0
            for entry in batch:
                pending = self._pending.get(entry.key.hash)
                if pending is not None and pending[0] is entry:
                    self._forget_pending(entry.key.hash)

    def _forget_pending(self, name: str) -> None:
        pending = self._pending.pop(name, None)
        if pending is not None:
            self._pending_bytes -= pending[1]

    # In the reader's thread

    def _select(self, key: CacheKey) -> Entry | None:
        row = self._reading.connection().execute(_SELECT, (key.hash, key.tenant_id)).fetchone()
        return None if row is None else decode(key, row[0])

    # In the writer's thread

    def _repaired(self, function: Callable[..., T], *args: object) -> T:
        """Do it; if the file was missing, damaged or empty, repair that and do it again."""
        try:
            return function(*args)
        except sqlite3.Error as error:
            if not self._writing.repair(error, self._writing.inode):
                raise
            return function(*args)

    def _upsert(self, entries: Iterable[Entry]) -> int:
        """Write `entries`. Return how many could not be put into bytes."""
        rows, unfit = [], 0
        allowances: dict[int, int] = {}  # by tenant, as they were last heard of
        for entry in entries:
            try:
                body = encode(entry)
            except BadEntry:
                unfit += 1
                continue
            key = entry.key
            if entry.allowance is not None:
                allowances[key.tenant_id] = entry.allowance
                if len(body) > entry.allowance:
                    continue
            times = stamp(entry.created_at), stamp(entry.expires_at)
            rows.append((key.hash, key.tenant_id, key.namespace, key.model, *times, len(body), body))
        connection = self._writing.connection()
        with transaction(connection):
            connection.executemany(_UPSERT, rows)
            for tenant_id, most in allowances.items():
                _trim(connection, tenant_id, most)
        self._evict(connection)
        return unfit

    def _evict(self, connection: sqlite3.Connection) -> None:
        while used_bytes(connection) > self._limit:
            with transaction(connection):
                if not connection.execute(_EVICT, (_BATCH,)).rowcount:
                    return

    def _delete(self, key: CacheKey) -> None:
        connection = self._writing.connection()
        with transaction(connection):
            connection.execute(_DELETE, (key.hash, key.tenant_id))

    def _sweep(self, scope: Scope, waiting: list[CacheKey], give_up: float) -> int:
        """Delete the rows of `scope`. Return how many answers that were, with those that were `waiting` to be rows."""
        where, values = _where(scope)
        rows = f"SELECT rowid FROM cache_cacheentry{where} LIMIT {_BATCH}"  # noqa: S608  our own words only
        connection = self._writing.connection()
        total = sum(connection.execute(_SELECT, (key.hash, key.tenant_id)).fetchone() is None for key in waiting)
        while True:
            with transaction(connection):
                dropped = connection.execute(f"DELETE FROM cache_cacheentry WHERE rowid IN ({rows})", values).rowcount  # noqa: S608
            total += dropped
            if dropped < _BATCH:
                return total
            if time.monotonic() > give_up:
                raise TierUnavailable("The cache file holds too much to delete at once; purge again for the rest.")

    # In a thread of its own

    def _count(self, scope: Scope) -> Holding:
        file = CacheFile(self._reading.path, READ_S)
        try:
            connection = file.connection()
            give_up = time.monotonic() + SWEEP_S
            connection.set_progress_handler(lambda: time.monotonic() > give_up, 100_000)
            if scope == Scope():
                (entries,) = connection.execute("SELECT count(*) FROM cache_cacheentry").fetchone()
                return Holding(entries, used_bytes(connection) if entries else 0)
            if scope == Scope(tenant_id=scope.tenant_id):
                return Holding(*connection.execute(_HELD, (scope.tenant_id,)).fetchone() or (0, 0))
            where, values = _where(scope)
            entries, size = connection.execute(
                f"SELECT count(*), coalesce(sum(size), 0) FROM cache_cacheentry{where}",  # noqa: S608
                values,
            ).fetchone()
            return Holding(entries, size)
        except sqlite3.Error as error:
            raise TierUnavailable(f"The cache file cannot be counted: {error}") from error
        finally:
            file.close()


def _trim(connection: sqlite3.Connection, tenant_id: int, most: int) -> None:
    """Drop a tenant's oldest answers until it keeps `most` bytes or fewer."""
    while (held := connection.execute(_HELD, (tenant_id,)).fetchone()) and held[1] > most:
        if not connection.execute(_TRIM, (tenant_id, tenant_id, _BATCH, held[1] - most)).rowcount:
            return


def used_bytes(connection: sqlite3.Connection) -> int:
    """How much of the file is in use. Unlike a sum over the rows, this takes no time and leaves nothing out."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _where(scope: Scope) -> tuple[str, list[object]]:
    """The rows of `scope`: a WHERE clause of column names and question marks, and the values for them."""
    chosen = {name: value for name in Scope.__slots__ if (value := getattr(scope, name)) is not None}
    clause = " AND ".join(f"{name} = ?" for name in chosen)
    return (f" WHERE {clause}" if clause else ""), list(chosen.values())
