"""The database backend of the ledger: whoever writes waits for a turn, in every thread and process.

SQLite lets one write at a time, and who finds it taken sleeps and looks again, longer each time: under load a few are
served at once and the others hardly ever. So writers queue at a turnstile first, and meet in SQLite no more. Whoever
comes past it (a shell, a backup) is held off by SQLite's own lock as ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.db import OperationalError, connections
from django.db.backends.sqlite3 import base

from orchestrator.core.turnstile import Turnstile

WRITES = ("INSERT", "UPDATE", "DELETE", "REPLAC", "CREATE", "DROP T", "DROP I", "ALTER ")  # by their first six letters


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection whose transactions and single writes take turns with those of all others."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turnstile: Turnstile | None = None
        self._turns = 0  # begun and not over, one within the other: the first waits
        self._has_begun = False  # a transaction

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else writes meanwhile. Raises OperationalError when the turn does not come in time."""
        self._take_turn()
        try:
            yield
        finally:
            self._leave_turn()

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """All that is read meanwhile is of one moment, whoever writes. It waits for no turn, and holds up nobody."""
        self.ensure_connection()
        raw = self.connection
        if raw.in_transaction:  # it is already
            yield
            return
        raw.execute("BEGIN DEFERRED")
        try:
            yield
        finally:
            if raw.in_transaction:
                raw.execute("COMMIT")

    def create_cursor(self, name: Any = None) -> Any:
        """A cursor whose writes outside of transactions take turns."""
        return self.connection.cursor(factory=lambda connection: _Cursor(connection, self))

    def _take_turn(self) -> None:
        if self._turns == 0 and not self.is_in_memory_db():
            try:
                if self._turnstile is None:
                    self._turnstile = Turnstile(Path(self.settings_dict["NAME"]))
                is_ours = self._turnstile.take(self.settings_dict["OPTIONS"].get("timeout", 5.0))
            except OSError as error:
                raise OperationalError(f"no turn to write: {error.strerror}") from None
            if not is_ours:
                raise OperationalError("database is locked")
        self._turns += 1

    def _leave_turn(self) -> None:
        if self._turns == 0:  # the connection was closed meanwhile
            return
        self._turns -= 1
        if self._turns == 0 and self._turnstile is not None:
            self._turnstile.leave()

    def _start_transaction_under_autocommit(self) -> None:
        self._take_turn()
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]  # not in the stubs
        except BaseException:
            self._leave_turn()
            raise
        self._has_begun = True

    def _commit(self) -> None:
        # When it fails it is rolled back, or the connection closed.
        super()._commit()  # type: ignore[misc]  # not in the stubs
        self._ended()

    def _rollback(self) -> None:
        try:
            super()._rollback()  # type: ignore[misc]  # not in the stubs
        finally:
            self._ended()

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]  # not in the stubs
        finally:
            self._has_begun, self._turns = False, 0
            if self._turnstile is not None:
                self._turnstile.close()
                self._turnstile = None

    def _ended(self) -> None:
        if self._has_begun:
            self._has_begun = False
            self._leave_turn()


class _Cursor(base.SQLiteCursorWrapper):
    def __init__(self, connection: Any, wrapper: DatabaseWrapper) -> None:
        super().__init__(connection)
        self._wrapper = wrapper

    def execute(self, query: str, params: Any = None) -> Any:
        if not self._writes_alone(query):
            return super().execute(query, params)
        with self._wrapper.turn():
            return super().execute(query, params)

    def executemany(self, query: str, param_list: Any) -> Any:
        if not self._writes_alone(query):
            return super().executemany(query, param_list)
        with self._wrapper.turn():
            return super().executemany(query, param_list)

    def convert_query(self, query: str, *, param_names: list[str] | None = None) -> str:
        return super().convert_query(query, param_names=param_names) if param_names else _converted(query)

    def _writes_alone(self, query: str) -> bool:
        return not self.connection.in_transaction and query.lstrip()[:6].upper() in WRITES


@lru_cache(maxsize=256)
def _converted(query: str) -> str:
    """As SQLite has it. What the ledger says is long, and always the same."""
    return str(base.FORMAT_QMARK_REGEX.sub("?", query).replace("%%", "%"))


class Direct:
    """A cursor without layers between. They take a third of what a small transaction takes, most of it interpreted."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def execute(self, sql: str, params: Any = ()) -> Any:
        """As Django has it, with `%s` for what is told apart."""
        return self._cursor.execute(_converted(sql), params)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """What was found."""
        rows: list[tuple[Any, ...]] = self._cursor.fetchall()
        return rows

    @property
    def rowcount(self) -> int:
        """How many rows were written or deleted."""
        return int(self._cursor.rowcount)


@contextmanager
def written_directly(alias: str) -> Iterator[Direct]:
    """A transaction: all that is said in it, or nothing. Raises Django's errors. It is nobody's part."""
    connection = connections[alias]
    with connection.turn() if isinstance(connection, DatabaseWrapper) else nullcontext():
        connection.ensure_connection()
        with connection.wrap_database_errors:
            raw = connection.connection
            raw.execute("BEGIN IMMEDIATE")
            try:
                yield Direct(raw.cursor())
                raw.commit()
            except BaseException:
                raw.rollback()
                raise


@contextmanager
def turn(alias: str = "default") -> Iterator[None]:
    """Nobody else writes to that database meanwhile; it may be one that knows no turns."""
    connection = connections[alias]
    if isinstance(connection, DatabaseWrapper):
        with connection.turn():
            yield
    else:
        yield
