"""The money of a day, hour by hour, and how far the budget of its month is.

The sums of the day come from the days that are kept for good. The hours are for the drawing: what was saved comes from
rollups; what was spent, from the charges, is read once of hours that are over, and remembered.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.db.models import F, Q, Sum, Value

from orchestrator.core.permissions import Reach
from orchestrator.ledger import costs, rolled
from orchestrator.ledger.costs import Span, Sums
from orchestrator.ledger.grouping import Epoch, whole
from orchestrator.ledger.pace import About, Use, uses
from orchestrator.ledger.tallies import Tally
from orchestrator.models import Charge

HOUR = timedelta(hours=1)
HOUR_S = 3600
LATE = timedelta(hours=1)  # a charge comes with the end of its request, and no request takes longer
MOST_REMEMBERED = 24 * 64  # hours, of all who look


@dataclass(frozen=True, slots=True)
class Hour:
    """What was spent and saved in an hour, in millionths of a dollar."""

    begins: datetime
    spent: int
    saved: int


@dataclass(frozen=True, slots=True)
class Today:
    """The money of the day that is, in UTC as the ledger counts days."""

    at: datetime
    sums: Sums
    before: Sums  # of the whole day before
    hours: Sequence[Hour]  # the last one is open
    budget: Use | None  # of a month, the one that is nearest to its end

    @property
    def list_price(self) -> int:
        """What the same would have cost without the cache."""
        return self.sums.cost_microusd + self.sums.saved_microusd

    @property
    def saved_share(self) -> float | None:
        """How much of the list price was saved, 0 to 1."""
        return self.sums.saved_microusd / self.list_price if self.list_price > 0 else None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was spent or saved."""
        return not (self.sums.calls or self.sums.saved_calls)


class Hours:
    """What was spent in hours that are over, by whose they are."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Reach, int], int] = OrderedDict()

    def of_day(self, now: datetime, reach: Reach) -> list[Hour]:
        """Each hour of the day of `now`, until then. Four queries."""
        first = int(datetime.combine(now.astimezone(UTC).date(), time(), UTC).timestamp())
        begins = range(first, int(now.timestamp()) + 1, HOUR_S)
        spent = self._spent(begins, now, reach)
        saved = rolled.read_steps(first, begins[-1] + HOUR_S, HOUR_S, reach)
        return [
            Hour(datetime.fromtimestamp(begin, UTC), spent[begin], _saved(saved.get(begin // HOUR_S)))
            for begin in begins
        ]

    def _spent(self, begins: Sequence[int], now: datetime, reach: Reach) -> dict[int, int]:
        """By the hours that begin so; those that are not remembered are read, all of them at once."""
        spent = {begin: self._kept[reach, begin] for begin in begins if (reach, begin) in self._kept}
        missing = [begin for begin in begins if begin not in spent]
        since, until = (datetime.fromtimestamp(at, UTC) for at in (missing[0], begins[-1] + HOUR_S))
        rows = Charge.objects.of(reach).order_by().filter(at__gte=since, at__lt=until)
        hour = whole(Epoch(F("at")) / Value(HOUR_S))
        summed: Any = rows.values(hour=hour).annotate(sum=Sum("cost_microusd"))
        sums = {row["hour"]: row["sum"] for row in summed}
        for begin in missing:
            spent[begin] = sums.get(begin // HOUR_S) or 0
            if now.timestamp() > begin + HOUR_S + LATE.total_seconds():
                self._kept[reach, begin] = spent[begin]
        while len(self._kept) > MOST_REMEMBERED:
            self._kept.popitem(last=False)
        return spent

    def forget(self) -> None:
        """Read every hour anew."""
        self._kept.clear()


def _saved(tally: Tally | None) -> int:
    return sum(sums.get("saved", 0) for _, sums in tally.of_cells()) if tally else 0


hours = Hours()


def read_today(reach: Reach, budgets_of: Reach, now: datetime) -> Today:
    """Read it."""
    day = now.astimezone(UTC).date()
    days = costs.by_day(Span(day - timedelta(days=1), day + timedelta(days=1)), reach)
    sums = days.get(day, Sums())
    monthly = uses(budgets_of, now, About(Q(period="month"))).rows
    is_any = sums.calls or sums.saved_calls
    return Today(
        at=now,
        sums=sums,
        before=days.get(day - timedelta(days=1), Sums()),
        hours=hours.of_day(now, reach) if is_any else (),
        budget=monthly[0] if monthly else None,
    )
