"""The stretch of time a page is about; it stands in the address."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.ledger.costs import Span


@dataclass(frozen=True, slots=True)
class Period:
    """A choice of the period switch."""

    slug: str
    label: str
    words: str  # after "in the"
    length: timedelta

    @property
    def in_days(self) -> str:
        """The days whose money a page of this period shows, after "spent"."""
        return "today" if self._days == 1 else f"in {self._days} days"

    def days_until(self, now: datetime) -> Span:
        """The days whose money a page of this period shows: whole ones of UTC, the last of them `now`'s."""
        return Span(now.date() - timedelta(days=self._days - 1), now.date() + timedelta(days=1))

    @property
    def _days(self) -> int:
        return max(1, self.length.days)


PERIODS = (
    Period("15m", "15\u202fmin", "last 15 minutes", timedelta(minutes=15)),
    Period("1h", "1\u202fh", "last hour", timedelta(hours=1)),
    Period("24h", "24\u202fh", "last 24 hours", timedelta(hours=24)),
    Period("7d", "7\u202fd", "last 7 days", timedelta(days=7)),
    Period("30d", "30\u202fd", "last 30 days", timedelta(days=30)),
)
DEFAULT = PERIODS[1]


def period(slug: str | None) -> Period:
    """The period of that name; the default for any other."""
    return next((p for p in PERIODS if p.slug == slug), DEFAULT)
