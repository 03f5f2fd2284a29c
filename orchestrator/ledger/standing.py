"""How budgets stand at the moment, in few words: for figures and those who watch them."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, cast

from django.db.models import Max

from orchestrator.core.budgets import PERIODS, Period, begins
from orchestrator.models import Budget, BudgetPeriod, Hold


class Standing(NamedTuple):
    """holds  calls under way for which something is reserved.

    used  of each budget the share that is spent; where it counts several apart, of whoever spent most.
    """

    holds: int
    used: dict[str, float]


def standing(at: datetime) -> Standing:
    """How they stand in their periods of that moment. Raises DatabaseError."""
    now = {begins(period, at) for period in PERIODS}
    rows = BudgetPeriod.objects.filter(begins__in=now).values_list("budget_id", "begins")
    spent = {(budget, first): most for budget, first, most in rows.annotate(most=Max("spent_microusd"))}
    used = {}
    for budget in Budget.objects.filter(is_off=False):
        most = spent.get((budget.pk, begins(cast(Period, budget.period), at)), 0)
        used[budget.name] = most / budget.amount_microusd if budget.amount_microusd else float(most > 0)
    return Standing(Hold.objects.count(), used)
