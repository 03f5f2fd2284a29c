"""How budgets stand: what is spent, reserved and free in the period that runs, and what it comes to at this pace."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, NamedTuple

from django.db.models import Case, DateField, ExpressionWrapper, F, OuterRef, QuerySet, Subquery, Sum, Value, When
from django.utils import timezone

from orchestrator.budgeting.names import named
from orchestrator.budgeting.rows import told
from orchestrator.core.budgets import PERIODS, begins, ends, renewed_at
from orchestrator.core.dollars import MICRO, dollars
from orchestrator.models import Budget, BudgetAlert, BudgetPeriod, Hold

MOST_SHOWN = 100  # of what a budget counts apart
MOST_MEASURED = 50  # budgets that have figures in /metrics
TOO_SOON_S = 3600  # of a period: nobody can tell its pace yet
DAY_S = 86_400
CENT = 10_000  # millionths of a dollar
_USED = F("spent_microusd") + F("reserved_microusd")


class Standing(NamedTuple):
    """How far a budget is used by one of those that it counts apart. Amounts are millionths of a dollar."""

    under: str
    amount: int
    spent: int
    reserved: int

    @property
    def free(self) -> int:
        """What is left; nothing where more was spent than it allows."""
        return max(self.amount - self.spent - self.reserved, 0)

    @property
    def share(self) -> int:
        """How much of it is used, in percent."""
        return (self.spent + self.reserved) * 100 // self.amount


def standings(row: Budget, most: int = MOST_SHOWN, now: datetime | None = None) -> list[Standing]:
    """In the period that runs, the most used first."""
    rows = BudgetPeriod.objects.filter(budget_id=row.pk, begins=begins(row.rule.period, now or timezone.now()))
    columns = rows.order_by(_USED.desc(), "under").values_list("under", "spent_microusd", "reserved_microusd")
    return [Standing(under, row.amount_microusd, spent, reserved) for under, spent, reserved in columns[:most]]


def with_most_used(budgets: QuerySet[Budget], now: datetime) -> QuerySet[Budget]:
    """The same, each with `most_spent` and `most_reserved`: of what it counts apart, where it is used most."""
    first = Case(*(When(period=period, then=Value(begins(period, now))) for period in PERIODS))
    of_period = budgets.annotate(first=ExpressionWrapper(first, DateField()))
    most = BudgetPeriod.objects.filter(budget_id=OuterRef("pk"), begins=OuterRef("first")).order_by(_USED.desc())
    return of_period.annotate(
        most_spent=Subquery(most.values("spent_microusd")[:1]),
        most_reserved=Subquery(most.values("reserved_microusd")[:1]),
    )


def pace(row: Budget, spent: int, now: datetime) -> int | None:
    """What will be spent at the end of the period, if it goes on so, to a cent; None where that cannot be said."""
    first = begins(row.rule.period, now)
    end = ends(row.rule.period, first)
    elapsed_s = int(now.timestamp()) - _midnight_s(first)
    if end is None or elapsed_s < TOO_SOON_S:
        return None
    comes_to = spent * (end - first).days * DAY_S // elapsed_s
    return (comes_to + CENT // 2) // CENT * CENT


def shown(row: Budget, most: int = MOST_SHOWN) -> dict[str, Any]:
    """A budget as API and commands show it, with how it stands."""
    now = timezone.now()
    first = begins(row.rule.period, now)
    found = standings(row, most, now)
    names = named(row.each, [one.under for one in found])
    return told(row) | {
        "is_given": row.is_given,
        "begins": first,
        "renewed_at": renewed_at(row.rule.period, first),
        "standings": [_told(row, one, names[one.under], now) for one in found],
    }


class Figures(NamedTuple):
    """What /metrics tells of a budget, in the period that runs."""

    name: str
    spent_usd: float
    used: float  # how much of it, where it is used most
    alerts: int  # shares that were reached


def figures() -> list[Figures]:
    """Those of the first budgets by name."""
    now, found = timezone.now(), []
    for row in Budget.objects.filter(is_off=False).order_by("name")[:MOST_MEASURED]:
        of_period = {"budget_id": row.pk, "begins": begins(row.rule.period, now)}
        spent = BudgetPeriod.objects.filter(**of_period).aggregate(all=Sum("spent_microusd"))["all"] or 0
        most = next(iter(standings(row, 1, now)), None)
        used = (most.spent + most.reserved) / most.amount if most else 0.0
        found.append(Figures(row.name, spent / MICRO, used, BudgetAlert.objects.filter(**of_period).count()))
    return found


def holds() -> int:
    """Calls under way for which money is reserved."""
    return Hold.objects.count()


def _told(row: Budget, one: Standing, name: str, now: datetime) -> dict[str, Any]:
    at_this_pace = pace(row, one.spent, now)
    return {
        "counted": name,
        "spent_usd": dollars(one.spent),
        "reserved_usd": dollars(one.reserved),
        "free_usd": dollars(one.free),
        "share": one.share,
        "pace_usd": None if at_this_pace is None else dollars(at_this_pace),
    }


def _midnight_s(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY_S
