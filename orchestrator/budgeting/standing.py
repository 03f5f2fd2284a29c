"""How budgets stand: what is spent, reserved and free in the period that runs, and what it comes to at this pace."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, NamedTuple

from django.db.models import F, Sum
from django.utils import timezone

from orchestrator.budgeting.rows import told
from orchestrator.core.budgets import begins, ends, renewed_at
from orchestrator.core.dollars import dollars
from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import ApiKey, Budget, BudgetAlert, BudgetPeriod, Team, Tenant

MOST_SHOWN = 100  # of what a budget counts apart
MOST_MEASURED = 50  # budgets that have figures in /metrics
TOO_SOON_S = 3600  # of a period: nobody can tell its pace yet
DAY_S = 86_400


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
    used = F("spent_microusd") + F("reserved_microusd")
    columns = rows.order_by(used.desc(), "under").values_list("under", "spent_microusd", "reserved_microusd")
    return [Standing(under, row.amount_microusd, spent, reserved) for under, spent, reserved in columns[:most]]


def pace(row: Budget, spent: int, now: datetime) -> int | None:
    """What will be spent at the end of the period, if it goes on so; None where that cannot be said."""
    first = begins(row.rule.period, now)
    end = ends(row.rule.period, first)
    elapsed_s = int(now.timestamp()) - _midnight_s(first)
    if end is None or elapsed_s < TOO_SOON_S:
        return None
    return spent * (end - first).days * DAY_S // elapsed_s


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


def named(each: str, words: Iterable[str]) -> dict[str, str]:
    """What people call the things that those words stand for."""
    words = list(words)
    numbers = [int(word) for word in words if word.isdecimal()]
    names: dict[int, str] = {}
    match each:
        case "key":
            names = dict(ApiKey.objects.of(EVERYBODY).filter(pk__in=numbers).values_list("pk", "prefix"))
        case "team":
            teams = Team.objects.of(EVERYBODY).filter(pk__in=numbers).values_list("pk", "tenant__name", "name")
            names = {number: f"{tenant}/{name}" for number, tenant, name in teams}
        case "tenant":
            names = dict(Tenant.objects.filter(pk__in=numbers).values_list("pk", "name"))
        case _:
            return {word: word for word in words}
    return {word: names.get(int(word), word) if word.isdecimal() else word for word in words}


def figures() -> list[tuple[str, float, float, int]]:
    """Of the first budgets by name: its name, dollars spent, how much is used where it is most, shares reached."""
    now, found = timezone.now(), []
    for row in Budget.objects.filter(is_off=False).order_by("name")[:MOST_MEASURED]:
        of_period = {"budget_id": row.pk, "begins": begins(row.rule.period, now)}
        spent = BudgetPeriod.objects.filter(**of_period).aggregate(all=Sum("spent_microusd"))["all"] or 0
        most = next(iter(standings(row, 1, now)), None)
        used = (most.spent + most.reserved) / most.amount if most else 0.0
        found.append((row.name, spent / 1e6, used, BudgetAlert.objects.filter(**of_period).count()))
    return found


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
