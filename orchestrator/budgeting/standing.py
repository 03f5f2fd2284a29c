"""How budgets stand: what is spent, reserved and free in the period that runs, and what it comes to at this pace."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import (
    Case,
    DateField,
    ExpressionWrapper,
    F,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.utils import timezone

from orchestrator.budgeting import machines
from orchestrator.budgeting.names import named
from orchestrator.budgeting.rows import told
from orchestrator.core.budgets import PERIODS, Asker, begins, ends, renewed_at, under
from orchestrator.core.budgets import Budget as Rule
from orchestrator.core.dollars import MICRO, dollars
from orchestrator.ledger.pace import of_others
from orchestrator.models import Budget, BudgetAlert, BudgetPeriod, Hold, Share

MOST_SHOWN = 100  # of what a budget counts apart
MOST_MEASURED = 50  # budgets that have figures in /metrics
TOO_SOON_S = 3600  # of a period: nobody can tell its pace yet
DAY_S = 86_400
CENT = 10_000  # millionths of a dollar
OF_OTHERS = ("others_spent", "others_reserved")
_USED = F("spent_microusd") + F("reserved_microusd")


class Standing(NamedTuple):
    """How far a budget is used by one of those that it counts apart. Amounts are millionths of a dollar.

    Spent and reserved are this machine's; those of others are what was heard last.
    """

    under: str
    amount: int
    spent: int
    reserved: int
    others_spent: int = 0
    others_reserved: int = 0

    @property
    def used(self) -> int:
        """By all machines."""
        return self.spent + self.reserved + self.others_spent + self.others_reserved

    @property
    def free(self) -> int:
        """What is left; nothing where more was spent than it allows."""
        return max(self.amount - self.used, 0)

    @property
    def share(self) -> int:
        """How much of it is used, in percent."""
        return self.used * 100 // self.amount


def standings(row: Budget, most: int = MOST_SHOWN, now: datetime | None = None) -> list[Standing]:
    """In the period that runs, the most used first."""
    first = begins(row.rule.period, now or timezone.now())
    rows = BudgetPeriod.objects.filter(budget_id=row.pk, begins=first).annotate(
        others_spent=of_others("spent"), others_reserved=of_others("reserved")
    )
    columns = rows.order_by((_USED + F("others_spent") + F("others_reserved")).desc(), "under").values_list(
        "under", "spent_microusd", "reserved_microusd", "others_spent", "others_reserved"
    )
    return [Standing(under, row.amount_microusd, *sums) for under, *sums in columns[:most]]


def least_left(budgets: Sequence[Rule], asker: Asker, now: datetime) -> float:
    """What is left for somebody of the budget that has least left, as a share: 0 to 1. One query.

    A budget that counts models or providers apart is taken where it is used most, since who answers is not settled.
    """
    wanted = Q()
    for budget in budgets:
        of_period = Q(budget_id=budget.id, begins=begins(budget.period, now))
        if budget.each not in {"model", "provider"}:
            of_period &= Q(under=under(budget, asker, "", ""))
        wanted |= of_period
    if not budgets:
        return 1.0
    rows = BudgetPeriod.objects.filter(wanted).annotate(all=_USED + of_others("spent") + of_others("reserved"))
    used = dict(rows.order_by().values_list("budget_id").annotate(most=Max("all")))
    return min(max(1.0 - used.get(one.id, 0) / one.amount, 0.0) if one.amount else 0.0 for one in budgets)


def with_most_used(budgets: QuerySet[Budget], now: datetime) -> QuerySet[Budget]:
    """The same, each with what `of_most` needs: of what it counts apart, where it is used most."""
    first = Case(*(When(period=period, then=Value(begins(period, now))) for period in PERIODS))
    of_period = budgets.annotate(first=ExpressionWrapper(first, DateField()))
    most = BudgetPeriod.objects.filter(budget_id=OuterRef("pk"), begins=OuterRef("first")).annotate(
        others_spent=of_others("spent"), others_reserved=of_others("reserved")
    )
    most = most.order_by((_USED + F("others_spent") + F("others_reserved")).desc())
    sums = {"spent": "spent_microusd", "reserved": "reserved_microusd"} | {name: name for name in OF_OTHERS}
    return of_period.annotate(**{f"most_{name}": Subquery(most.values(column)[:1]) for name, column in sums.items()})


def of_most(row: Any) -> Standing | None:
    """Where one of those is used most; None: nowhere."""
    if row.most_spent is None:
        return None
    sums = (row.most_spent, row.most_reserved, row.most_others_spent, row.most_others_reserved)
    return Standing("", row.amount_microusd, *sums)


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
    here = granted(row, first)
    return told(row) | {
        "is_given": row.is_given,
        "stated_elsewhere": machines.stated_elsewhere(row),
        "begins": first,
        "renewed_at": renewed_at(row.rule.period, first),
        "standings": [_told(row, one, names[one.under], here, now) for one in found],
    }


def granted(row: Budget, first: date) -> dict[str, int] | None:
    """This machine's shares of it, by what it counts apart; None where budgets are no other machine's as well."""
    if not settings.REDIS_URL:
        return None
    return dict(Share.objects.filter(budget_id=row.pk, begins=first).values_list("under", "granted_microusd"))


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
        used = most.used / most.amount if most else 0.0
        found.append(Figures(row.name, spent / MICRO, used, BudgetAlert.objects.filter(**of_period).count()))
    return found


def holds() -> int:
    """Calls under way for which money is reserved."""
    return Hold.objects.count()


def _told(row: Budget, one: Standing, name: str, here: dict[str, int] | None, now: datetime) -> dict[str, Any]:
    everywhere = one.spent + one.others_spent
    at_this_pace = pace(row, everywhere, now)
    return {
        "counted": name,
        "spent_usd": dollars(everywhere),
        "spent_here_usd": dollars(one.spent),
        "reserved_usd": dollars(one.reserved + one.others_reserved),
        "free_usd": dollars(one.free),
        "granted_here_usd": None if here is None else dollars(here.get(one.under, 0)),
        "share": one.share,
        "pace_usd": None if at_this_pace is None else dollars(at_this_pace),
    }


def _midnight_s(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY_S
