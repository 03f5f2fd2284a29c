"""What the requests of a window add up to: rollups, and the newest records, which are not in them yet.

However many records there are, it reads a bounded number of rollups and at most `MOST_RAW` records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any

from django.db import connections
from django.db.models import BooleanField, Count, Exists, F, OuterRef, Q, QuerySet, Value
from django.db.models.expressions import RawSQL
from django.utils import timezone

from orchestrator.core.errors import Outraced
from orchestrator.core.permissions import EVERYBODY, Reach
from orchestrator.ledger.grouping import Epoch, whole
from orchestrator.ledger.rows import ALIAS
from orchestrator.ledger.sql import table
from orchestrator.ledger.stretches import Stretches, covering, longest_within
from orchestrator.ledger.tallies import (
    ENDED_WELL,
    ERROR,
    MINUTE_S,
    NOT_WANTED,
    PARTS,
    Tally,
    fate,
    grouped,
    merge,
    unpacked,
)
from orchestrator.models import Attempt, RequestRecord, Rollup, RollupMark

ALL_TENANTS = 0
REQUESTS, ATTEMPTS = "requests", "attempts"
MOST_RAW = 5_000  # records, and as many attempts; the newest
REFUSED = Q(status__range=(400, 499)) | Q(outcome=NOT_WANTED)
FAILED = ~Q(outcome__in=ENDED_WELL) & ~REFUSED


@dataclass(slots=True)
class Rolled:
    """A window in all, and by steps, numbered since 1970. behind_s: so old is the oldest record that is not in it."""

    total: Tally = field(default_factory=Tally)
    steps: dict[int, Tally] = field(default_factory=dict)
    behind_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Marks:
    """How far rollups are, and which are the last records and attempts."""

    requests: int
    attempts: int
    last_request: int
    last_attempt: int


def read(
    first: int, until: int, step_s: int, reach: Reach, parts: Sequence[str] = PARTS, *, with_failures: bool = False
) -> Rolled:
    """Add up what began from the second `first` until before `until`, in steps of `step_s`; all whole minutes.

    parts          of the whole window; of steps only `steps` are read.
    with_failures  also attempts that failed, and what failed alone.
    """
    found = Rolled()
    with connections[ALIAS].one_moment():  # type: ignore[attr-defined]  # the ledger's own connection
        marks = read_marks()
        for row in _rows(covering(first, until), reach).values_list(*parts):
            for part, text in zip(parts, row, strict=True):
                merge(getattr(found.total, part), unpacked(text))
        length = longest_within(step_s)
        begin = first // length * length
        for start, text in _rows([Stretches(length, begin, until)], reach).values_list("start", "steps"):
            merge(_step(found, start // step_s).steps, unpacked(text))
        after = max(marks.requests, marks.last_request - MOST_RAW)
        if after < marks.last_request:
            _add_records(found, after, first, until, step_s, reach, with_failures=with_failures)
        if after > marks.requests:
            found.behind_s = behind_s(marks, after)
        after = max(marks.attempts, marks.last_attempt - MOST_RAW)
        if with_failures and after < marks.last_attempt:
            tried = _between(Attempt.objects.of(reach, by_tenant=False).filter(pk__gt=after), first, until)
            for row in failed_attempts(tried):
                found.total.fail(row["provider"], row["outcome"], row["n"])
    return found


def read_days(first: int, until: int, tenant_ids: Iterable[int] | None) -> list[tuple[int, int, Tally]]:
    """Cells of whole days, piece by piece: the tenant (0: all of them), a second of the day, and what there was.

    tenant_ids  one by one; None: all of them together. All records are in it, however many are in no rollup yet.
    """
    reach = EVERYBODY if tenant_ids is None else Reach(frozenset(tenant_ids))
    found = []
    with connections[ALIAS].one_moment():  # type: ignore[attr-defined]
        marks = read_marks()
        for tenant, start, text in _rows(covering(first, until), reach).values_list("tenant_id", "start", "cells"):
            found.append((tenant, start, Tally(cells=unpacked(text))))
        rows = RequestRecord.objects.of(reach, by_tenant=False).filter(pk__gt=marks.requests)
        for row in grouped(_between(rows, first, until)):
            tally = Tally()
            tally.add(row)
            found.append((ALL_TENANTS if tenant_ids is None else row["tenant_id"], row["minute"] * MINUTE_S, tally))
    return found


def read_steps(first: int, until: int, step_s: int, reach: Reach) -> dict[int, Tally]:
    """Cells of steps, numbered since 1970, from the second `first` until before `until`; both begin steps."""
    found: dict[int, Tally] = {}
    with connections[ALIAS].one_moment():  # type: ignore[attr-defined]
        marks = read_marks()
        kept = _rows([Stretches(longest_within(step_s), first, until)], reach)
        for start, text in kept.values_list("start", "cells"):
            merge(found.setdefault(start // step_s, Tally()).cells, unpacked(text))
        after = max(marks.requests, marks.last_request - MOST_RAW)
        rows = RequestRecord.objects.of(reach, by_tenant=False).filter(pk__gt=after)
        for row in grouped(_between(rows, first, until)):
            found.setdefault(row["minute"] * MINUTE_S // step_s, Tally()).add(row)
    return found


def read_marks() -> Marks:
    """How far it is. One query, of the ends of indexes."""
    mark = f"COALESCE((SELECT upto FROM {table(RollupMark)} WHERE name = %s), 0)"  # noqa: S608  # our own names
    last = "COALESCE((SELECT MAX(id) FROM {}), 0)"
    sql = f"SELECT {mark}, {mark}, {last.format(table(RequestRecord))}, {last.format(table(Attempt))}"
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(sql, [REQUESTS, ATTEMPTS])
        return Marks(*cursor.fetchone())


def behind_s(marks: Marks, upto: int) -> float:
    """How old the oldest record is, of those up to a number, that is in no rollup; 0 where there is none."""
    waiting = RequestRecord.objects.of(EVERYBODY).filter(pk__gt=marks.requests, pk__lte=upto).order_by("pk")
    at = waiting.values_list("at", flat=True).first()
    return 0.0 if at is None else max(0.0, (timezone.now() - at).total_seconds())


def failed_attempts(rows: QuerySet[Attempt]) -> Iterable[dict[str, Any]]:
    """Calls that failed, and that were not left for one that was quicker. One query."""
    apart = {"minute": whole(Epoch(F("at")) / Value(MINUTE_S))}
    failed = rows.exclude(outcome=Outraced.kind).order_by()
    found: Any = failed.values("tenant_id", "provider", "outcome", **apart).annotate(n=Count("pk")).order_by()
    return found  # type: ignore[no-any-return]


def failed_alone(rows: QuerySet[RequestRecord]) -> Iterable[dict[str, Any]]:
    """Requests that failed and have no attempt that says so: those after their first piece. One query."""
    is_called: Any = RawSQL("+tier IN ('miss', 'bypass')", (), output_field=BooleanField())
    said = Attempt.objects.of(EVERYBODY).filter(
        request_id=OuterRef("request_id"), tenant_id=OuterRef("tenant_id"), provider=OuterRef("provider")
    )
    failed = rows.filter(is_called, FAILED).exclude(provider="").exclude(Exists(said)).order_by()
    apart = {"minute": whole(Epoch(F("at")) / Value(MINUTE_S))}
    found: Any = failed.values("tenant_id", "provider", "outcome", **apart).annotate(n=Count("pk")).order_by()
    return found  # type: ignore[no-any-return]


def _add_records(
    found: Rolled, after: int, first: int, until: int, step_s: int, reach: Reach, *, with_failures: bool
) -> None:
    rows = _between(RequestRecord.objects.of(reach, by_tenant=False).filter(pk__gt=after), first, until)
    has_failed = False
    for row in grouped(rows):
        found.total.add(row)
        _step(found, row["minute"] * MINUTE_S // step_s).add(row)
        has_failed = has_failed or fate(row["outcome"], row["status"]) == ERROR
    if with_failures and has_failed:
        for row in failed_alone(rows):
            found.total.fail(row["provider"], row["outcome"], row["n"])


def _step(found: Rolled, number: int) -> Tally:
    return found.steps.setdefault(number, Tally())


def _rows(stretches: Iterable[Stretches], reach: Reach) -> QuerySet[Rollup]:
    """Of the tenants in `reach`; of everybody, what all of them came to."""
    rows = Rollup.objects.of(reach)
    if reach == EVERYBODY:
        rows = rows.filter(tenant_id=ALL_TENANTS)
    wanted = [Q(length=one.length, start__gte=one.first, start__lt=one.until) for one in stretches]
    return rows.filter(reduce(or_, wanted)) if wanted else rows.none()


def _between(rows: Any, first: int, until: int) -> Any:
    """Those of a window. Not by the index on time: they are few by their ids, and may be many by time."""
    return rows.alias(second=Epoch(F("at"))).filter(second__gte=first, second__lt=until)
