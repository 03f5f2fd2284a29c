"""Many rows in one statement: as one JSON text, which SQLite takes apart itself, or a few as they are.

Binding them in one statement after the other would hand the interpreter's lock back and forth once a row, and while
the event loop is busy each return waits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import cache
from itertools import chain
from types import NoneType
from typing import Any, Protocol

import orjson
from django.db.models import Model

FEW = 8  # rows that are bound: more of them are quicker by way of JSON, and each number is a statement of its own
TAKEN = (str, int, float, NoneType)  # by SQLite


class Cursor(Protocol):
    """What SQL is said to."""

    def execute(self, sql: str, params: Any = None, /) -> Any:
        """Do what `sql` says."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """What it found."""

    @property
    def rowcount(self) -> int:
        """How many rows were written or deleted."""


def table(model: type[Model]) -> str:
    """The name of a model's table."""
    return f'"{model._meta.db_table}"'


def columns(model: type[Model]) -> list[str]:
    """All but a number that the database gives."""
    key = model._meta.pk
    return [field.attname for field in model._meta.concrete_fields if field is not key or field.attname != "id"]


def moment(at: datetime | str) -> str:
    """A moment as it stands in the database."""
    return at if isinstance(at, str) else str(at.replace(tzinfo=None))


def packed(values: Any) -> str:
    """Rows on their way. Raises TypeError for what is no text and no number that fits."""
    return orjson.dumps(values).decode()


def select_all(cursor: Cursor, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a question finds whose parameters are JSON."""
    cursor.execute(sql, [packed(value) for value in values])
    return cursor.fetchall()


def insert_all(
    cursor: Cursor, model: type[Model], names: Sequence[str], rows: Collection[Iterable[Any]], conflict: str = ""
) -> None:
    """Write rows, all or none. `conflict` is what SQLite is to do where one is there already.

    Raises TypeError for what is no text and no number.
    """
    if not rows:
        return
    if len(rows) > FEW:
        cursor.execute(_insert(model, tuple(names), 0, conflict), [packed([list(row) for row in rows])])
        return
    values = list(chain.from_iterable(rows))
    for value in values:
        if not isinstance(value, TAKEN):
            raise TypeError(f"{type(value).__name__} is no text and no number")
    cursor.execute(_insert(model, tuple(names), len(rows), conflict), values)


@cache
def _insert(model: type[Model], names: tuple[str, ...], count: int, conflict: str) -> str:
    """Of so many rows that are bound; of any number, as JSON, where that is 0."""
    into = ", ".join(f'"{name}"' for name in names)
    if count:
        row = ", ".join(["%s"] * len(names))
        source = f"VALUES {', '.join([f'({row})'] * count)}"
    else:
        chosen = ", ".join(f"value ->> {place}" for place in range(len(names)))
        source = f"SELECT {chosen} FROM json_each(%s) WHERE true"  # noqa: S608  # numbers of our own
    return f"INSERT INTO {table(model)} ({into}) {source} {conflict}"
