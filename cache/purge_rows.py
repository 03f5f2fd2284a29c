"""The record of purges as rows of the cache's SQLite file. Every function raises sqlite3.Error."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from cache.database import stamp, transaction
from cache.entries import Scope
from cache.purges import Place, Purge

_COLUMNS = "tenant_id, namespace, model, hash, at, uid, is_ours, is_unsent, again_at"
_KNOWN = "SELECT 1 FROM cache_purge WHERE uid = ?"
_SAME = "tenant_id IS ? AND namespace IS ? AND model IS ? AND hash IS ?"
_IS_DONE = "NOT is_unsent AND again_at IS NULL"  # what is left to do is done, whatever was purged since
_INSERT = f"INSERT INTO cache_purge ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  our own words only
_TAKE = f"UPDATE cache_purge SET again_at = ?, at = max(at, ?) WHERE again_at <= ? RETURNING {_COLUMNS}"  # noqa: S608

_Row = tuple[int | None, str | None, str | None, str | None, str, str | None, int, int, str | None]


def record(connection: sqlite3.Connection, purges: Sequence[Purge]) -> list[Purge]:
    """Write down those of `purges` that are not yet, and return them."""
    new = []
    with transaction(connection):
        for purge in purges:
            if purge.id and connection.execute(_KNOWN, (purge.id,)).fetchone():
                continue
            scope = purge.scope
            values = (scope.tenant_id, scope.namespace, scope.model, scope.hash)
            at = _covering(purge.at)
            if scope == Scope():  # this one includes them
                connection.execute(f"DELETE FROM cache_purge WHERE at <= ? AND {_IS_DONE}", (at,))  # noqa: S608
            (latest,) = connection.execute(f"SELECT max(at) FROM cache_purge WHERE {_SAME}", values).fetchone()  # noqa: S608
            connection.execute(f"DELETE FROM cache_purge WHERE {_SAME} AND {_IS_DONE}", values)  # noqa: S608
            again_at = None if purge.again_at is None else stamp(purge.again_at)
            work = (purge.id or None, purge.is_ours, purge.is_unsent, again_at)
            connection.execute(_INSERT, (*values, max(at, latest or at), *work))
            new.append(purge)
    return new


def recorded(connection: sqlite3.Connection) -> list[Purge]:
    """Every purge, the oldest first."""
    return _purges(connection.execute(f"SELECT {_COLUMNS} FROM cache_purge ORDER BY at, id"))  # noqa: S608


def unsent(connection: sqlite3.Connection) -> list[Purge]:
    """The purges that other machines are still to be told, the oldest first."""
    return _purges(connection.execute(f"SELECT {_COLUMNS} FROM cache_purge WHERE is_unsent ORDER BY at, id"))  # noqa: S608


def were_sent(connection: sqlite3.Connection, ids: Sequence[str]) -> None:
    """Note that other machines can hear of these."""
    with transaction(connection):
        connection.executemany("UPDATE cache_purge SET is_unsent = 0 WHERE uid = ?", [(name,) for name in ids])


def take_due(connection: sqlite3.Connection, now: float, until: float) -> list[Purge]:
    """The purges that are to be swept again by `now`, from when they count; they are due again at `until`."""
    # Looked for without the writer's lock first: most of the time there is none.
    if not connection.execute("SELECT 1 FROM cache_purge WHERE again_at <= ? LIMIT 1", (stamp(now),)).fetchone():
        return []
    with transaction(connection):
        taken = _purges(connection.execute(_TAKE, (stamp(until), _covering(now), stamp(now))))
    return [replace(purge, again_at=until) for purge in taken]


def were_swept(connection: sqlite3.Connection, ids: Sequence[str]) -> None:
    """Note that these need not be swept again."""
    with transaction(connection):
        connection.executemany("UPDATE cache_purge SET again_at = NULL WHERE uid = ?", [(name,) for name in ids])


def place(connection: sqlite3.Connection) -> Place:
    """How far this machine has heard what others purged."""
    row = connection.execute("SELECT entry, was_left FROM cache_feedplace WHERE id = 1").fetchone()
    return Place(row[0], bool(row[1])) if row else Place()


def keep_place(connection: sqlite3.Connection, place: Place) -> None:
    """Note how far that is."""
    with transaction(connection):
        connection.execute(
            "INSERT INTO cache_feedplace (id, entry, was_left) VALUES (1, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET entry = excluded.entry, was_left = excluded.was_left",
            (place.entry, place.was_left),
        )


def _covering(seconds: float) -> str:
    """The next microsecond: an answer of the same instant is covered."""
    return stamp((math.floor(seconds * 1e6) + 1) / 1e6)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def _purges(rows: sqlite3.Cursor) -> list[Purge]:
    return [_purge(row) for row in rows.fetchall()]


def _purge(row: _Row) -> Purge:
    tenant_id, namespace, model, hash_, at, uid, is_ours, is_unsent, again_at = row
    scope = Scope(tenant_id=tenant_id, namespace=namespace, model=model, hash=hash_)
    again = None if again_at is None else _seconds(again_at)
    return Purge(scope, _seconds(at), uid or "", bool(is_ours), bool(is_unsent), again)
