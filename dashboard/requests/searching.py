"""Finds requests in a ledger of ten million rows without reading it all.

Rows are looked at in slices of their numbers, the newest first, until there are enough or the time is up; what was
looked back to is said, and where to go on. No row is counted, sorted or passed over by its place in a list.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import close_old_connections, connections
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce
from django.db.models.lookups import GreaterThanOrEqual, LessThan

from dashboard.requests.asked import Asked, looked_for
from orchestrator.core.permissions import EVERYBODY, Reach
from orchestrator.ledger.rows import ALIAS
from orchestrator.ledger.sql import table
from orchestrator.models import RequestRecord

PAGE = 50
BUDGET_S = 0.1
FIRST_SLICE = 10_000
ALL = 1 << 62  # numbers
SLICES = 2  # the first tells how many the second may read within the budget
MOST_GROWTH = 32
MOST_NEWS = 10
NEWS_S = 0.03
MOST_IDS = 2_000  # that begin with what is looked for; more are not looked up
LEAST_ID = 3  # characters of an id that are looked for
# A row is numbered when its request ends, and its time is when that came: nobody takes longer than this.
LONGEST_REQUEST = timedelta(hours=1)

Rows = QuerySet[RequestRecord]


@dataclass(frozen=True, slots=True)
class Found:
    """Some rows, the newest first.

    older      the number to go on before; 0: there are no older ones.
    newer      the number to go on after; 0: these are the newest.
    looked_to  how far back was looked where the time was up before there were enough; None: it was not.
    newest     the last number there is for whoever looks, from which news are counted.
    is_common  more ids begin with what is looked for than are looked up.
    """

    rows: Sequence[RequestRecord]
    older: int = 0
    newer: int = 0
    looked_to: datetime | None = None
    newest: int = 0
    is_common: bool = False

    @property
    def is_all(self) -> bool:
        """Whether there are no others that match."""
        return not self.older and not self.newer


@dataclass(frozen=True, slots=True)
class News:
    """What came since somebody looked, the newest first, few of it.

    newest    the last number there is for whoever looks.
    has_more  there is more of it than these, or may be: not all that came was looked at.
    """

    rows: Sequence[RequestRecord]
    newest: int
    has_more: bool


def search(asked: Asked, reach: Reach, *, before: int = 0, after: int = 0, most: int = PAGE) -> Found:
    """A page of what is asked for: the newest, those before a number, or those after one."""
    close_old_connections()
    bottom, top = _bounds(asked, reach)
    newest = top - 1
    slices = _slices(_matching(asked, reach), asked.wanted, reach, BUDGET_S)
    if after:
        return _newer(slices, max(after, bottom), top, most, newest)
    if before:
        top = min(top, before)
    found = slices.down(top, bottom, most + 1)
    more = len(found) > most
    found = found[:most]
    ended_early = not more and slices.at > bottom
    older = found[-1].pk if more else slices.at if ended_early else 0
    newer = (found[0].pk if found else before - 1) if before and before <= newest else 0
    looked_to = _time_at(older, reach) if ended_early else None
    return Found(found, older, newer, looked_to, newest, slices.is_common)


def news(asked: Asked, reach: Reach, after: int) -> News:
    """What came after a number and matches."""
    close_old_connections()
    newest = _newest(reach)
    rows = _matching(asked, reach, is_timed=asked.until is not None)
    slices = _slices(rows, asked.wanted, reach, NEWS_S)
    found = slices.down(newest + 1, after, MOST_NEWS + 1)
    return News(found[:MOST_NEWS], newest, has_more=len(found) > MOST_NEWS or slices.at > after)


def _slices(rows: Rows, wanted: str, reach: Reach, budget_s: float) -> _Slices:
    """Those of the rows that have what is looked for: by their ids if any begins so, else by what they say.

    Of more ids than are looked up nobody knows which are in reach, or the newest: then it is either, row by row.
    """
    if not wanted:
        return _Slices(rows, budget_s)
    begins = Q(request_id__gte=wanted, request_id__lt=f"{wanted}\U0010ffff")
    numbers = _numbers(begins) if len(wanted) >= LEAST_ID else []
    if len(numbers) > MOST_IDS:
        return _Slices(rows.filter(begins | looked_for(wanted)), budget_s, is_common=True)
    if numbers and reach != EVERYBODY:
        own = RequestRecord.objects.of(reach, by_tenant=False).filter(pk__in=numbers)
        numbers = list(own.values_list("pk", flat=True))
    if numbers:
        return _Slices(rows.filter(pk__in=numbers), budget_s, ALL)
    return _Slices(rows.filter(looked_for(wanted)), budget_s)


def _numbers(begins: Q) -> list[int]:
    """Of those whose ids begin so, of whomever they are; found in the index, one more than are looked up at most."""
    rows = RequestRecord.objects.of(EVERYBODY).filter(begins).order_by("request_id")
    return list(rows.values_list("pk", flat=True)[: MOST_IDS + 1])


def _newer(slices: _Slices, bottom: int, top: int, most: int, newest: int) -> Found:
    found = slices.up(bottom + 1, top, most + 1)
    more = len(found) > most
    found = found[:most]
    newer = found[-1].pk if more else slices.at - 1 if slices.at < top else 0
    return Found(found[::-1], found[0].pk if found else bottom + 1, newer, None, newest)


class _Slices:
    """Goes through rows by their numbers, in slices that grow or shrink with how long they take: one at least."""

    def __init__(self, rows: Rows, budget_s: float, step: int | None = None, *, is_common: bool = False) -> None:
        self.matching = rows
        self.is_common = is_common
        self.at = 0  # how far it got: all above it, or all below, was looked at
        self._budget_s = budget_s
        self._step = step or FIRST_SLICE
        self._taken = 0

    def down(self, top: int, bottom: int, most: int) -> list[RequestRecord]:
        """From below `top` to above `bottom`, the highest first."""
        found: list[RequestRecord] = []
        self.at = top - 1
        until = time.monotonic() + self._budget_s
        while self.at > bottom and len(found) < most:
            low = max(bottom, self.at - self._step)
            rows = self.matching.filter(pk__gt=low, pk__lte=self.at).order_by("-pk")
            found += self._timed(rows[: most - len(found)])
            self.at = low
            self._taken += 1
            if self._taken >= SLICES or time.monotonic() > until:
                break
        self.at = self.at + 1 if self.at > bottom else bottom
        return found

    def up(self, bottom: int, top: int, most: int) -> list[RequestRecord]:
        """From `bottom` to below `top`, the lowest first."""
        found: list[RequestRecord] = []
        self.at = bottom
        until = time.monotonic() + self._budget_s
        while self.at < top and len(found) < most:
            high = min(top, self.at + self._step)
            found += self._timed(self.matching.filter(pk__gte=self.at, pk__lt=high).order_by("pk")[: most - len(found)])
            self.at = high
            self._taken += 1
            if self._taken >= SLICES or time.monotonic() > until:
                break
        return found

    def _timed(self, rows: Rows) -> list[RequestRecord]:
        began = time.monotonic()
        found = list(rows)
        took = max(time.monotonic() - began, 1e-5)
        growth = min(MOST_GROWTH, self._budget_s / SLICES / took)
        self._step = max(FIRST_SLICE // 4, int(self._step * growth))
        return found


def _matching(asked: Asked, reach: Reach, *, is_timed: bool = True) -> Rows:
    rows = RequestRecord.objects.of(reach).filter(asked.condition).select_related("tenant", "key")
    if not is_timed:
        return rows
    # As an expression, so that the numbers lead the search and not the index on time.
    began = Coalesce(F("at"), F("at"))
    if asked.since is not None:
        rows = rows.filter(GreaterThanOrEqual(began, asked.since))
    if asked.until is not None:
        rows = rows.filter(LessThan(began, asked.until))
    return rows


def _bounds(asked: Asked, reach: Reach) -> tuple[int, int]:
    """The numbers between which everything lies that may match: above the first, below the second."""
    since = asked.since and asked.since - LONGEST_REQUEST
    until = asked.until and asked.until + LONGEST_REQUEST
    rows = table(RequestRecord)
    sql = (
        f"SELECT (SELECT MIN(id) FROM {rows}), (SELECT MAX(id) FROM {rows}), "  # noqa: S608  # our own names
        f"(SELECT id FROM {rows} WHERE at < %s ORDER BY at DESC LIMIT 1), "
        f"(SELECT id FROM {rows} WHERE at >= %s ORDER BY at LIMIT 1)"
    )
    with connections[ALIAS].cursor() as cursor:
        ends = [None if at is None else connections[ALIAS].ops.adapt_datetimefield_value(at) for at in (since, until)]
        cursor.execute(sql, ends)
        oldest, newest, before, later = cursor.fetchone()
    bottom, top = (oldest or 1) - 1, (newest or 0 if reach == EVERYBODY else _newest(reach)) + 1
    bottom, top = max(bottom, before or 0), min(top, later or top)
    return min(bottom, top - 1), top


def _newest(reach: Reach) -> int:
    """Of their own: the last of all would tell when others ask, and how much."""
    return _own(reach).order_by("-pk").values_list("pk", flat=True).first() or 0


def _time_at(number: int, reach: Reach) -> datetime | None:
    """When the request of theirs came that is numbered so, or the next one that is left."""
    return _own(reach).filter(pk__gte=number).order_by("pk").values_list("at", flat=True).first()


def _own(reach: Reach) -> Rows:
    """Those in reach, to go through by their numbers: the index on one tenant has them in order, on several not."""
    return RequestRecord.objects.of(reach, by_tenant=reach.tenants is not None and len(reach.tenants) == 1)
