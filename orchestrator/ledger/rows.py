"""Request records as SQL: many rows in one statement."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import QuerySet

from orchestrator.ledger.sql import Cursor, insert_all, moment, packed, table
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


def insert(rows: Sequence[dict[str, Any]], cursor: Cursor | None = None) -> None:
    """Write rows, all or none; a cursor is in a transaction. Raises what the database raises, and TypeError."""
    values = []
    for row in rows:
        row["at"] = moment(row["at"])
        values.append([row[column] for column in _COLUMNS])
    if cursor is not None:
        insert_all(cursor, RequestRecord, _COLUMNS, values)
        return
    # One statement is a transaction by itself. Around it, BEGIN and COMMIT would give up the interpreter's lock
    # twice more, and while the event loop is busy it is waited for each time: a third of what a commit takes.
    with connections[ALIAS].cursor() as own:
        insert_all(own, RequestRecord, _COLUMNS, values)


def insert_repeats(repeats: Sequence[Repeat]) -> None:
    """Write a row for each, all or none. Raises what the database raises."""
    places: dict[Line, int] = {}
    own = [(places.setdefault(line, len(places)), *rest) for line, *rest in repeats]
    shared = [[line.row[column] for column in _SHARED] for line in places]
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(_repeating(), [packed(shared), packed(own)])


def write_used(keys: Collection[int], at: datetime) -> None:
    """Write that keys were used. Nobody is told that who may do what has changed, for it has not."""
    rows: QuerySet[ApiKey] = QuerySet(ApiKey, using=ALIAS)  # not the model's own, which would tell
    rows.filter(pk__in=keys).exclude(last_used_at__gte=at).update(last_used_at=at)


@cache
def _repeating() -> str:
    into = ", ".join(f'"{column}"' for column in [*_OWN, *_SHARED])
    columns = ", ".join(f"value ->> {place} AS c{place}" for place in range(len(_SHARED)))
    chosen = ", ".join(f"c{place}" for place in range(len(_SHARED)))
    moment = "strftime('%%Y-%%m-%%d %%H:%%M:%%S', {0} / 1000000, 'unixepoch') || printf('.%%06d', {0} %% 1000000)"
    return (
        f"INSERT INTO {table(RequestRecord)} ({into}) "  # noqa: S608  # our own column names
        f"WITH line AS MATERIALIZED (SELECT key AS place, {columns} FROM json_each(%s)) "
        f"SELECT hit.value ->> 1, {moment.format('(hit.value ->> 2)')}, hit.value ->> 3, hit.value ->> 3, {chosen} "
        "FROM json_each(%s) AS hit CROSS JOIN line ON line.place = hit.value ->> 0"
    )
