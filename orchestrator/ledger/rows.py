"""Request records as SQL: many rows in one statement.

The rows travel as one JSON text that SQLite takes apart itself. Binding them row by row hands the
interpreter's lock back and forth once a row, and while the event loop is busy each return waits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from django.db import connections
from django.db.models import QuerySet

from orchestrator.models import ApiKey, Attempt, RequestRecord

ALIAS = "default"
_COLUMNS = [f.attname for f in RequestRecord._meta.concrete_fields if not f.primary_key]
_OWN = ("request_id", "at", "first_us", "total_us")  # what a repeated request has for itself
_SHARED = [name for name in _COLUMNS if name not in _OWN]


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """What the records of one request, asked again and again, have in common: every column but `_OWN`."""

    row: dict[str, Any]


class Repeat(NamedTuple):
    """One more request like an earlier one. `at` in microseconds since the epoch, `took` in microseconds."""

    line: Line
    request_id: str
    at: int
    took: int


class Attempted(NamedTuple):
    """A place that was asked and did not answer."""

    request_id: str
    tenant_id: int
    at: datetime
    provider: str
    model: str
    outcome: str
    error: str
    took_us: int


def insert_attempts(attempts: Sequence[Attempted]) -> None:
    """Write a row for each, all or none. Raises what the database raises."""
    Attempt.objects.using(ALIAS).bulk_create([Attempt(**one._asdict()) for one in attempts])


def insert(rows: Sequence[dict[str, Any]]) -> None:
    """Write rows, all or none. Raises what the database raises, and TypeError for what is no text or number."""
    values = []
    for row in rows:
        row["at"] = row["at"] if isinstance(row["at"], str) else str(row["at"].replace(tzinfo=None))
        values.append([row[column] for column in _COLUMNS])
    chosen = ", ".join(f"value ->> {place}" for place in range(len(_COLUMNS)))
    _execute(f"SELECT {chosen} FROM json_each(%s)", _COLUMNS, values)  # noqa: S608  # numbers of our own


def insert_repeats(repeats: Sequence[Repeat]) -> None:
    """Write a row for each, all or none. Raises what the database raises."""
    places: dict[Line, int] = {}
    own = [(places.setdefault(line, len(places)), *rest) for line, *rest in repeats]
    shared = [[line.row[column] for column in _SHARED] for line in places]
    columns = ", ".join(f"value ->> {place} AS c{place}" for place in range(len(_SHARED)))
    chosen = ", ".join(f"c{place}" for place in range(len(_SHARED)))
    moment = "strftime('%%Y-%%m-%%d %%H:%%M:%%S', {0} / 1000000, 'unixepoch') || printf('.%%06d', {0} %% 1000000)"
    _execute(
        f"WITH line AS MATERIALIZED (SELECT key AS place, {columns} FROM json_each(%s)) "  # noqa: S608  # our own column names
        f"SELECT hit.value ->> 1, {moment.format('(hit.value ->> 2)')}, hit.value ->> 3, hit.value ->> 3, {chosen} "
        "FROM json_each(%s) AS hit CROSS JOIN line ON line.place = hit.value ->> 0",
        [*_OWN, *_SHARED],
        shared,
        own,
    )


def write_used(keys: Collection[int], at: datetime) -> None:
    """Write that keys were used. Nobody is told that who may do what has changed, for it has not."""
    rows: QuerySet[ApiKey] = QuerySet(ApiKey, using=ALIAS)  # not the model's own, which would tell
    rows.filter(pk__in=keys).exclude(last_used_at__gte=at).update(last_used_at=at)


def _execute(select: str, columns: Sequence[str], *values: Any) -> None:
    connection = connections[ALIAS]
    quote = connection.ops.quote_name
    into = f"INSERT INTO {quote(RequestRecord._meta.db_table)} ({', '.join(map(quote, columns))}) "
    # One statement is a transaction by itself. Around it, BEGIN and COMMIT would give up the interpreter's lock
    # twice more, and while the event loop is busy it is waited for each time: a third of what a commit takes.
    with connection.cursor() as cursor:
        cursor.execute(into + select, [orjson.dumps(value).decode() for value in values])
