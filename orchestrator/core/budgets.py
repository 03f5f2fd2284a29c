"""A budget: how much money, for whom, in what time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, Protocol

from orchestrator.core.dollars import dollars
from orchestrator.core.errors import BudgetSpent
from orchestrator.core.limits import is_named

Period = Literal["day", "week", "month", "total"]
EachOf = Literal["key", "team", "tenant", "model", "provider", "all"]
PERIODS: tuple[Period, ...] = ("day", "week", "month", "total")
EACH_OF: tuple[EachOf, ...] = ("key", "team", "tenant", "model", "provider", "all")
SHARED = ("model", "provider", "all")  # by several tenants, where the budget is nobody's own
EVER = date(1970, 1, 1)  # when a total begins
LONGEST_UNDER = 255  # characters
SOON_S = 2.0  # until a call under way may have ended, and given back what it does not need
LONGEST_WAIT_S = 86_400.0  # that is asked of a caller: somebody may raise the budget meanwhile
_IN_WORDS = {"day": " a day", "week": " a week", "month": " a month", "total": " in all"}


class Asker(Protocol):
    """Who asks, by number."""

    @property
    def tenant_id(self) -> int: ...
    @property
    def team_id(self) -> int | None: ...
    @property
    def key_id(self) -> int | None: ...
    @property
    def first_key_id(self) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Up to `amount` millionths of a dollar for each of `each` in a period, which begins at midnight in UTC.

    is_hard   what would go beyond is refused; otherwise it is only told.
    shares    percent of it at which somebody is told.
    model     a pattern, as in limits; empty: any.
    provider  empty: any.
    is_common  it is about every tenant.
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
    is_common: bool = False

    @property
    def is_shared(self) -> bool:
        """Whether tenants spend the same money: how much is left tells each of them of the others."""
        return self.is_common and self.each in SHARED

    def is_about(self, model: str, provider: str) -> bool:
        """Whether it counts a call of that model, by its full name, at that provider."""
        if self.provider and self.provider != provider:
            return False
        return not self.model or is_named(model, self.model)


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


def renewed_at(period: Period, first: date) -> datetime | None:
    """When the period after the one that begins on `first` begins."""
    day = ends(period, first)
    return None if day is None else datetime.combine(day, time(), UTC)


def under(budget: Budget, asker: Asker, model: str, provider: str) -> str:
    """The word that a budget counts a call under: which key, team, tenant, model or provider; empty for all together.

    A key that was rotated is counted under the first of those before it: a new one is no new money.
    """
    match budget.each:
        case "key":
            return str(asker.first_key_id or asker.key_id or 0)
        case "team":
            return str(asker.team_id or 0)
        case "tenant":
            return str(asker.tenant_id)
        case "model":
            return model[:LONGEST_UNDER]
        case "provider":
            return provider[:LONGEST_UNDER]
        case "all":
            return ""


def in_words(budget: Budget) -> str:
    """What it allows: for whoever meets it."""
    whom = "for all together" if budget.each == "all" else f"for each {budget.each}"
    return f'Budget "{budget.name}" allows {dollars(budget.amount)} USD{_IN_WORDS[budget.period]} {whom}'


def spent(
    budget: Budget, *, used: int, reserved: int, asked: int, first: date, now: float, is_divided: bool = False
) -> BudgetSpent:
    """That a budget does not reach for a call that may cost `asked`. Amounts are millionths of a dollar.

    used      is paid, and does not come back before the budget is renewed.
    reserved  is for calls under way, which mostly need less of it.
    first     the first day of the period.    now  seconds since the epoch
    is_divided  several machines spend it, and this one's share does not reach.
    """
    words, held = in_words(budget), f"{dollars(reserved)} are"
    if budget.is_shared:
        words, held = f"{words}; it does not reach for this call, which may cost {dollars(asked)}", "some of it is"
    else:
        free = max(budget.amount - used - reserved, 0)
        words = f"{words}; {dollars(free)} are left, and this call may cost {dollars(asked)}"
    if is_divided:
        held = "the rest is with other machines, or"
    renewal = renewed_at(budget.period, first)
    if used + asked <= budget.amount:
        return BudgetSpent(f"{words}; {held} reserved for calls under way.", retry_after_s=SOON_S)
    if renewal is None:
        return BudgetSpent(f"{words}; it is not renewed.")
    wait_s = min(max(renewal.timestamp() - now, 1.0), LONGEST_WAIT_S)
    return BudgetSpent(f"{words}; it is renewed on {renewal.day} {renewal:%B} (UTC).", retry_after_s=wait_s)
