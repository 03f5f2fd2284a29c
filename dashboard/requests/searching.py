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
SLICES = 2  # the first tells how many the second may read within the budget
MOST_GROWTH = 32
MOST_NEWS = 10
NEWS_WITHIN = 20_000  # numbers; who was away for more of them reads the page anew
NEWS_S = 0.03
MOST_IDS = 2_000  # of those that begin with what is looked for
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
    """

    rows: Sequence[RequestRecord]
    older: int = 0
    newer: int = 0
    looked_to: datetime | None = None
    newest: int = 0

    @property
    def is_all(self) -> bool:
        """Whether there are no others that match."""
        return not self.older and not self.newer


def search(asked: Asked, reach: Reach, *, before: int = 0, after: int = 0, most: int = PAGE) -> Found:
    """A page of what is asked for: the newest, those before a number, or those after one."""
    close_old_connections()
    bottom, top = _bounds(asked, reach)
    newest = top - 1
    wanted = asked.wanted
    rows = _matching(asked, reach)
    if len(wanted) >= LEAST_ID and (found := by_id(asked, reach, most, before)):
        return Found(found, older=found[-1].pk if len(found) == most else 0, newest=newest)
    if wanted:
        rows = rows.filter(looked_for(wanted))
    if after:
        return _newer(rows, max(after, bottom), top, most, newest)
    if before:
        top = min(top, before)
    slices = _Slices(rows, BUDGET_S)
    found = slices.down(top, bottom, most + 1)
    more = len(found) > most
    found = found[:most]
    ended_early = not more and slices.at > bottom
    older = found[-1].pk if more else slices.at if ended_early else 0
    newer = (found[0].pk if found else before - 1) if before and before <= newest else 0
    looked_to = _time_at(older, reach) if ended_early else None
    return Found(found, older, newer, looked_to, newest)


def news(asked: Asked, reach: Reach, after: int) -> tuple[list[RequestRecord], int]:
    """What came after a number and matches, the newest first, few of it; and the last number there is for them."""
    close_old_connections()
    newest = _newest(reach)
    slices = _Slices(_matching(asked, reach, is_timed=asked.until is not None), NEWS_S)
    if asked.wanted:
        slices.matching = slices.matching.filter(looked_for(asked.wanted) | Q(request_id__startswith=asked.wanted))
    return slices.down(newest + 1, max(after, newest - NEWS_WITHIN), MOST_NEWS), newest


def by_id(asked: Asked, reach: Reach, most: int, before: int = 0) -> list[RequestRecord]:
    """Those whose id begins with what is looked for; found in the index, a bounded number of them."""
    begins = asked.wanted
    ids = RequestRecord.objects.of(EVERYBODY).filter(request_id__gte=begins, request_id__lt=f"{begins}\U0010ffff")
    numbers = list(ids.order_by("request_id").values_list("pk", flat=True)[:MOST_IDS])
    if not numbers:
        return []
    rows = _matching(asked, reach).filter(pk__in=[one for one in numbers if not before or one < before])
    return list(rows.order_by("-pk")[:most])


def _newer(rows: Rows, bottom: int, top: int, most: int, newest: int) -> Found:
    slices = _Slices(rows, BUDGET_S)
    found = slices.up(bottom + 1, top, most + 1)
    more = len(found) > most
    found = found[:most]
    newer = found[-1].pk if more else slices.at - 1 if slices.at < top else 0
    return Found(found[::-1], found[0].pk if found else bottom + 1, newer, None, newest)


class _Slices:
    """Goes through rows by their numbers, in slices that grow or shrink with how long they take: one at least."""

    def __init__(self, rows: Rows, budget_s: float) -> None:
        self.matching = rows
        self.at = 0  # how far it got: all above it, or all below, was looked at
        self._budget_s = budget_s
        self._step = FIRST_SLICE
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
