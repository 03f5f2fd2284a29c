"""Many rows in one statement: they travel as one JSON text, which SQLite takes apart itself."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Protocol

import orjson
from django.db.models import Model


class Cursor(Protocol):
    """What SQL is said to."""

    def execute(self, sql: str, params: Any = None, /) -> Any:
        """Do what `sql` says."""

    def fetchall(self) -> list[tuple[Any, ...]]:
        """What it found."""


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
    """Write rows, all or none. `conflict` is what SQLite is to do where one is there already."""
    if not rows:
        return
    chosen = ", ".join(f"value ->> {place}" for place in range(len(names)))
    into = ", ".join(f'"{name}"' for name in names)
    cursor.execute(
        f"INSERT INTO {table(model)} ({into}) SELECT {chosen} FROM json_each(%s) WHERE true {conflict}",  # noqa: S608  # our own names
        [packed([list(row) for row in rows])],
    )
