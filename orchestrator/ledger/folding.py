"""Records become rollups, some at a time: each once, whatever happens in between.

Ids are given in the order in which records are committed. So what is in rollups is told by one number, the mark, which
moves in the transaction that writes what was added: who is killed before has done nothing, and after it all. Requests
and attempts have a mark each. Two who fold at once add nothing twice and lose nothing: both marks are where they were
when they read, for both are about the same rollups, or what they made is thrown away.

A record that comes late is added to the minute, the quarter, the hours and the day it belongs to, as any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from django.db import connections

from orchestrator.core.permissions import EVERYBODY
from orchestrator.ledger.rolled import (
    ALL_TENANTS,
    ATTEMPTS,
    REQUESTS,
    Marks,
    failed_alone,
    failed_attempts,
    read_marks,
)
from orchestrator.ledger.rows import ALIAS
from orchestrator.ledger.sql import FEW, Cursor, insert_all, packed, table
from orchestrator.ledger.stretches import DAY_S, KEPT_DAYS, LENGTHS, finest
from orchestrator.ledger.tallies import MINUTE_S, PARTS, Tally, grouped, unpacked
from orchestrator.models import Attempt, RequestRecord, Rollup, RollupMark
from orchestrator.sqlite.base import turn, written_directly

LEAST, MOST = 50, 10_000  # rows at once
# In one transaction, while calls wait for their turn to be written.
MOST_ROLLUPS = 1_000
MOST_BYTES = 4_000_000  # of rollups, which take about 10 ms a million
LEAST_BY_BYTES = 500  # rows: busy tenants' days are as heavy for fewer, and folding has to keep up
PRUNED = 500  # rollups in one transaction
PRUNES_S = 180.0


class Place(NamedTuple):
    """A rollup."""

    tenant_id: int
    length: int
    start: int


Tallies = dict[Place, Tally]
Row = tuple[Place, tuple[str, ...]]  # a rollup as it is written
Part = tuple[int, int, Callable[[Tally], None]]  # whose, the minute, and what adds it
_COLUMNS = (*Place._fields, *PARTS)
_REPLACE = f"ON CONFLICT ({', '.join(Place._fields)}) DO UPDATE SET " + ", ".join(
    f"{part} = excluded.{part}" for part in PARTS
)


class Folder:
    """Remembers how many rows go into few enough rollups: many of one minute, few of many tenants or of long ago."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._sizes = {REQUESTS: 500, ATTEMPTS: LEAST}
        self.longest_s = 0.0  # transaction

    def fold(self, within_s: float) -> int:
        """Add what is due, for about so long, and return how many records and attempts that were."""
        began, folded = time.monotonic(), 0
        while count := self.fold_some(REQUESTS) + self.fold_some(ATTEMPTS):
            folded += count
            if time.monotonic() - began >= within_s:
                break
        return folded

    def fold_some(self, what: str) -> int:
        """Add the next few of `what`, and return how many ids those were."""
        with turn(ALIAS):  # a request's attempts follow it in the same turn: where it is seen, so are they
            marks = read_marks()
        mark, last = (marks.requests, marks.last_request) if what == REQUESTS else (marks.attempts, marks.last_attempt)
        size = self._sizes[what]
        upto = min(last, mark + size)
        if upto <= mark:
            return 0
        shortest: Tallies = {}
        places: dict[tuple[int, int], Place] = {}
        for tenant, minute, add in _requests(mark, upto) if what == REQUESTS else _attempts(mark, upto):
            place = places.get((tenant, minute)) or places.setdefault((tenant, minute), self._place(tenant, minute))
            add(shortest.setdefault(place, Tally()))
        tallies = _rolled_up(shortest)
        if len(tallies) > MOST_ROLLUPS and size > LEAST:
            return self._fold_fewer(what)
        _add_what_is_there(tallies)
        rows = [(place, tallies[place].packed()) for place in sorted(tallies)]
        weight = sum(len(part) for _, parts in rows for part in parts)
        if weight > MOST_BYTES and size > LEAST_BY_BYTES:
            return self._fold_fewer(what)
        if len(rows) < MOST_ROLLUPS / 4 and weight < MOST_BYTES / 4:
            self._sizes[what] = min(MOST, size * 2)
        began = time.monotonic()
        is_ours = _write(what, marks, upto, rows)
        self.longest_s = max(self.longest_s, time.monotonic() - began)
        return upto - mark if is_ours else 0

    def _fold_fewer(self, what: str) -> int:
        self._sizes[what] = max(LEAST, self._sizes[what] // 2)
        return self.fold_some(what)

    def _place(self, tenant: int, minute: int) -> Place:
        """The shortest stretch that is kept of a minute."""
        length = finest(minute * MINUTE_S, self._now())
        return Place(tenant, length, minute * MINUTE_S // length * length)


def prune(now: float, batch: int = PRUNED, within_s: float = PRUNES_S) -> int:
    """Delete rollups that are no longer kept, and return how many; a transaction takes `batch` at most.

    What is left after about `within_s` seconds is for the next time.
    """
    gone, until = 0, time.monotonic() + within_s
    tenants = Rollup.objects.of(EVERYBODY).order_by("tenant_id").values_list("tenant_id", flat=True).distinct()
    for tenant in list(tenants):
        for length, days in KEPT_DAYS.items():
            rows = Rollup.objects.of(EVERYBODY)
            old = rows.filter(tenant_id=tenant, length=length, start__lt=int(now) - days * DAY_S - length)
            while ids := list(old.order_by("start").values_list("pk", flat=True)[:batch]):
                gone += rows.filter(pk__in=ids).delete()[0]
                if time.monotonic() >= until:
                    return gone
    return gone


def _requests(mark: int, upto: int) -> Iterable[Part]:
    rows = RequestRecord.objects.of(EVERYBODY).filter(pk__gt=mark, pk__lte=upto)
    for row in grouped(rows):
        yield row["tenant_id"], row["minute"], partial(Tally.add, row=row)
    yield from _failed(failed_alone(rows))


def _attempts(mark: int, upto: int) -> Iterable[Part]:
    return _failed(failed_attempts(Attempt.objects.of(EVERYBODY).filter(pk__gt=mark, pk__lte=upto)))


def _failed(rows: Iterable[dict[str, Any]]) -> Iterable[Part]:
    for row in rows:
        failed = {"provider": row["provider"], "outcome": row["outcome"], "n": row["n"]}
        yield row["tenant_id"] or ALL_TENANTS, row["minute"], partial(Tally.fail, **failed)


def _rolled_up(shortest: Tallies) -> Tallies:
    """To every length that is kept, and to all tenants together."""
    tallies: Tallies = {}
    for place, tally in shortest.items():
        for whose in {place.tenant_id, ALL_TENANTS}:
            for length in LENGTHS[LENGTHS.index(place.length) :]:
                start = place.start // length * length
                tallies.setdefault(Place(whose, length, start), Tally()).merge(tally)
    return tallies


def _add_what_is_there(tallies: Tallies) -> None:
    sql = (
        f"SELECT {', '.join(f'kept.{name}' for name in _COLUMNS)} FROM json_each(%s) AS place "  # noqa: S608  # our own
        f"CROSS JOIN {table(Rollup)} AS kept ON kept.tenant_id = place.value ->> 0 "
        "AND kept.length = place.value ->> 1 AND kept.start = place.value ->> 2"
    )
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(sql, [packed([list(place) for place in tallies])])
        for *place, steps, cells, times in cursor.fetchall():
            tallies[Place(*place)].merge(Tally(unpacked(steps), unpacked(cells), unpacked(times)))


def _write(what: str, marks: Marks, upto: int, rows: Sequence[Row]) -> bool:
    """All of it or nothing; return whether the marks were still where they were."""
    with written_directly(ALIAS) as cursor:
        if not _moved(cursor, what, marks, upto):
            return False
        for first in range(0, len(rows), FEW):
            some = [(*place, *parts) for place, parts in rows[first : first + FEW]]
            insert_all(cursor, Rollup, _COLUMNS, some, _REPLACE)
    return True


def _moved(cursor: Cursor, what: str, marks: Marks, upto: int) -> bool:
    were = {REQUESTS: marks.requests, ATTEMPTS: marks.attempts}
    cursor.execute(f"SELECT name, upto FROM {table(RollupMark)}")  # noqa: S608  # our own name
    if were | dict(cursor.fetchall()) != were:
        return False
    moved = "ON CONFLICT (name) DO UPDATE SET upto = excluded.upto"
    insert_all(cursor, RollupMark, ("name", "upto"), [(what, upto)], moved)
    return True
