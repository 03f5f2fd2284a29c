"""Reads of the ledger for pages: one thread, kept for a moment, so that many viewers cost as much as one.

What is read is read for somebody: whose things it may hold comes with every question.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

from django.db import close_old_connections
from django.db.models import QuerySet
from django.utils import timezone

from dashboard.answers.misses import AllHits, Misses, read_hits, read_misses
from dashboard.costs.today import Today, hours, read_today
from dashboard.llm.rows import Used, read_used
from dashboard.marks import Event, read_events
from dashboard.periods import Period
from dashboard.providers.rows import Providers, read_providers
from orchestrator.core.permissions import EVERYBODY, Reach
from orchestrator.core.threads import WorkerThread
from orchestrator.ledger.stats import Figures, figures, figures_before
from orchestrator.models import RequestRecord

T = TypeVar("T")

DEADLINE_S = 5.0
FRESH_S = 0.9
PROVIDERS_FRESH_S = 2.0
# Figures over many records take long; they are then read less often, to take this share of a core at most.
MOST_SHARE = 0.2
ROWS = 30
BEFORE_FRESH_S = 60.0  # what was before does not change; only where it begins does
MONEY_FRESH_S = 5.0
EVENTS_FRESH_S = 2.0
CACHE_FRESH_S = 2.0
MOST_KEPT = 256  # of figures: periods by whose they are
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The figures of a period, and what is true right now."""

    period: Period
    at: datetime
    figures: Figures
    last_minute: int  # requests
    is_new: bool  # nothing was ever asked


@dataclass(frozen=True, slots=True)
class Beside:
    """What stands beside the figures of a period. None: it could not be read, or is not for who looks."""

    before: Figures | None = None  # the same stretch of the day before, or the stretch before where it is longer
    today: Today | None = None
    events: Sequence[Event] = ()
    providers: Providers | None = None


NOTHING_BESIDE = Beside()


@dataclass(frozen=True, slots=True)
class News:
    """The newest requests since a record, newest first, and how many there were in all."""

    rows: list[RequestRecord]
    total: int
    newest_id: int

    @property
    def unlisted(self) -> int:
        """How many of them are not among the rows."""
        return self.total - len(self.rows)


class Reader:
    """Reads in its own thread, with its own connection."""

    def __init__(self, now: Callable[[], datetime] = timezone.now) -> None:
        self._now = now
        self._thread = WorkerThread("dashboard", most_waiting=100)
        self._kept: OrderedDict[tuple[str, str, Reach], tuple[float, Any]] = OrderedDict()

    async def snapshot(self, period: Period, reach: Reach) -> Snapshot:
        """The figures of `period`. Raises TimeoutError, Busy or a database's error."""
        return await self._thread.run(DEADLINE_S, self._snapshot, period, reach)

    async def providers(self, period: Period, reach: Reach) -> Providers:
        """How the providers are, with what they did in `period`. Raises as `snapshot` does."""
        return await self._thread.run(DEADLINE_S, self._providers, period, reach)

    async def beside(self, period: Period, reach: Reach) -> Beside:
        """What stands beside them. Raises as `snapshot` does."""
        return await self._thread.run(DEADLINE_S, self._beside, period, reach)

    async def used(self, period: Period, reach: Reach, providers: Collection[str]) -> Used:
        """What models did in `period`, and how these providers are. Raises as `snapshot` does."""
        return await self._thread.run(DEADLINE_S, self._used, period, reach, providers)

    async def misses(self, period: Period, reach: Reach) -> Misses:
        """Why requests of `period` missed. Raises as `snapshot` does."""
        return await self._thread.run(DEADLINE_S, self._misses, period, reach)

    async def hits(self, reach: Reach) -> AllHits:
        """How often kept answers were served lately. Raises as `snapshot` does."""
        return await self._thread.run(DEADLINE_S, self._hits, reach)

    async def rows(self, reach: Reach, most: int = ROWS) -> list[RequestRecord]:
        """The newest requests. Raises as `snapshot` does."""
        return await self._thread.run(DEADLINE_S, newest_rows, reach, most)

    async def newest_id(self) -> int:
        """The last record there is, 0 when there is none. Raises as `snapshot` does."""
        return await self._thread.run(DEADLINE_S, newest_id)

    async def news(self, reach: Reach, after_id: int, most: int) -> News:
        """What came after a record. Raises as `snapshot` does."""
        return await self._thread.run(DEADLINE_S, news, reach, after_id, most)

    async def run(self, function: Callable[[], T]) -> T:
        """Do something else in the same thread, which keeps it off the event loop."""
        return await self._thread.run(DEADLINE_S, function)

    async def kept(self, name: str, reach: Reach, fresh_s: float, read: Callable[[], T]) -> T:
        """The same, of what is read for all who may see as much, and holds for a moment."""
        return await self._thread.run(DEADLINE_S, self._fresh, (name, "", reach), fresh_s, read)

    def forget(self) -> None:
        """Read everything anew from now on."""
        self._kept.clear()
        hours.forget()

    def _snapshot(self, period: Period, reach: Reach) -> Snapshot:
        return self._fresh(("figures", period.slug, reach), FRESH_S, lambda: read_snapshot(period, reach, self._now()))

    def _providers(self, period: Period, reach: Reach) -> Providers:
        name = ("providers", period.slug, reach)
        return self._fresh(name, PROVIDERS_FRESH_S, lambda: read_providers(period, reach, self._now()))

    def _misses(self, period: Period, reach: Reach) -> Misses:
        close_old_connections()
        now = self._now()
        name = ("misses", period.slug, reach)
        return self._fresh(name, CACHE_FRESH_S, lambda: read_misses(now - period.length, now, reach))

    def _hits(self, reach: Reach) -> AllHits:
        close_old_connections()
        return self._fresh(("hits", "", reach), CACHE_FRESH_S, lambda: read_hits(reach))

    def _beside(self, period: Period, reach: Reach) -> Beside:
        close_old_connections()
        now = self._now()
        return Beside(
            before=self._fresh(
                ("before", period.slug, reach),
                BEFORE_FRESH_S,
                lambda: figures_before(period.length, now, reach),
            ),
            today=self._fresh(("today", "", reach), MONEY_FRESH_S, lambda: read_today(reach, reach, now)),
            events=self._fresh(
                ("events", period.slug, EVERYBODY), EVENTS_FRESH_S, lambda: read_events(now - period.length, now)
            )
            if reach == EVERYBODY
            else (),
            providers=self._providers(period, reach) if reach == EVERYBODY else None,
        )

    def _used(self, period: Period, reach: Reach, providers: Collection[str]) -> Used:
        name = ("models", period.slug, reach)
        return self._fresh(name, PROVIDERS_FRESH_S, lambda: read_used(period, reach, self._now(), providers))

    def _fresh(self, name: tuple[str, str, Reach], fresh_s: float, read: Callable[[], T]) -> T:
        """What was read a moment ago, or is read now."""
        fresh_until, kept = self._kept.get(name, (0.0, None))
        began = time.monotonic()
        if kept is not None and began < fresh_until:
            return cast(T, kept)
        found = read()
        ended = time.monotonic()
        self._kept[name] = (ended + max(fresh_s, (ended - began) / MOST_SHARE), found)
        self._kept.move_to_end(name)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return found


def read_snapshot(period: Period, reach: Reach, now: datetime) -> Snapshot:
    """Read the figures of `period` up to `now`."""
    close_old_connections()
    found = figures(now - period.length, now, reach)
    return Snapshot(
        period=period,
        at=now,
        figures=found,
        last_minute=RequestRecord.objects.of(reach, by_tenant=False).filter(at__gte=now - MINUTE).count(),
        is_new=not found.requests and not RequestRecord.objects.of(reach).exists(),
    )


def newest_rows(reach: Reach, most: int) -> list[RequestRecord]:
    """The newest records, newest first."""
    close_old_connections()
    return _named(RequestRecord.objects.of(reach), most)


def newest_id() -> int:
    """The last record's id, 0 when there is none. Whoever's it is: nobody is shown it."""
    close_old_connections()
    return RequestRecord.objects.of(EVERYBODY).order_by("-id").values_list("id", flat=True).first() or 0


def news(reach: Reach, after_id: int, most: int) -> News:
    """At most `most` records that came after `after_id`.

    For who sees everybody's, the total counts ids, which are given in turn: no record is read to be counted. A process
    that commits late may slip a record in below an id already seen; it is missing here, not in the ledger.
    """
    close_old_connections()
    after = RequestRecord.objects.of(reach).filter(id__gt=after_id)
    rows = _named(after, most)
    if not rows:
        return News(rows, 0, after_id)
    newest = rows[0].pk
    if reach == EVERYBODY:
        return News(rows, newest - after_id, newest)
    return News(rows, len(rows) if len(rows) < most else after.filter(id__lte=newest).count(), newest)


def _named(rows: QuerySet[RequestRecord], most: int) -> list[RequestRecord]:
    """The newest of them with whose they are. Chosen before they are joined, else a database may begin with tenants."""
    newest = RequestRecord.objects.of(EVERYBODY).filter(pk__in=rows.order_by("-id").values("pk")[:most])
    return list(newest.select_related("tenant", "key").order_by("-id"))


reader = Reader()
