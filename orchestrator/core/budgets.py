"""A budget: how much money, for whom, in what time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from orchestrator.core.limits import is_named

Period = Literal["day", "week", "month", "total"]
EachOf = Literal["key", "team", "tenant", "model", "provider", "all"]
PERIODS: tuple[Period, ...] = ("day", "week", "month", "total")
EACH_OF: tuple[EachOf, ...] = ("key", "team", "tenant", "model", "provider", "all")
EVER = date(1970, 1, 1)  # when a total begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Up to `amount` millionths of a dollar for each of `each` in a period, which begins at midnight in UTC.

    is_hard   what would go beyond is refused; otherwise it is only told.
    shares    percent of it at which somebody is told.
    model     a pattern, as in limits; empty: any.
    provider  empty: any.
    """

    id: int
    name: str
    period: Period
    each: EachOf
    amount: int
    is_hard: bool = True
    shares: tuple[int, ...] = (50, 80, 100)
    model: str = ""
    provider: str = ""

    def is_about(self, model: str, provider: str) -> bool:
        """Whether it counts a call of that model, by its full name, at that provider."""
        if self.provider and self.provider != provider:
            return False
        return not self.model or is_named(model, self.model)


def under(each: EachOf, *, key: int | None, team: int | None, tenant: int, model: str, provider: str) -> str:
    """Which of those that are counted apart a call counts under: a number, a name, or nothing where there is but one.

    Who has no key, or none of a team, is counted under 0.
    """
    match each:
        case "key":
            return str(key or 0)
        case "team":
            return str(team or 0)
        case "tenant":
            return str(tenant)
        case "model":
            return model
        case "provider":
            return provider
        case "all":
            return ""


def begins(period: Period, at: datetime) -> date:
    """The first day of the period that a moment is in; weeks begin on Monday."""
    day = at.astimezone(UTC).date()
    match period:
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "total":
            return EVER


def ends(period: Period, first: date) -> date | None:
    """The first day after the period that begins on `first`; None: it has no end."""
    match period:
        case "day":
            return first + timedelta(days=1)
        case "week":
            return first + timedelta(days=7)
        case "month":
            return (first.replace(day=28) + timedelta(days=4)).replace(day=1)
        case "total":
            return None
