"""Shares of budgets that were reached: as far as somebody may see them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from orchestrator.budgeting.names import named
from orchestrator.budgeting.rows import find, seen
from orchestrator.core.dollars import dollars
from orchestrator.identity.acting import Actor
from orchestrator.models import Budget, BudgetAlert


def alerts(by: Actor, *, budget: str | None = None, before: int | None = None) -> QuerySet[BudgetAlert]:
    """Those that `by` may see, newest first; before the one of that number."""
    budgets = seen(by).order_by() if budget is None else Budget.objects.filter(pk=find(by, budget).pk)
    found = BudgetAlert.objects.filter(budget_id__in=budgets.values("pk")).order_by("-pk")
    return found if before is None else found.filter(pk__lt=before)


def shown(rows: Iterable[BudgetAlert]) -> list[dict[str, Any]]:
    """Alerts, as API, commands and webhook show them; none of a budget that is gone.

    The amount is what the budget allows by now.
    """
    rows = list(rows)
    budgets = Budget.objects.select_related("tenant").in_bulk({row.budget_id for row in rows})
    rows = [row for row in rows if row.budget_id in budgets]
    words: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        words[budgets[row.budget_id].each].add(row.under)
    names = {each: named(each, some) for each, some in words.items()}
    return [_told(row, budgets[row.budget_id], names) for row in rows]


def _told(row: BudgetAlert, budget: Budget, names: dict[str, dict[str, str]]) -> dict[str, Any]:
    return {
        "number": row.pk,
        "at": row.at,
        "budget": budget.name,
        "tenant": budget.tenant.name if budget.tenant else None,
        "each": budget.each,
        "counted": names[budget.each][row.under],
        "period": budget.period,
        "begins": row.begins,
        "share": row.share,
        "amount_usd": dollars(budget.amount_microusd),
        "spent_usd": dollars(row.spent_microusd),
        "is_hard": budget.is_hard,
        "told_at": row.told_at,
        "tries": row.tries,
    }


def in_words(told: dict[str, Any]) -> str:
    """An alert that is shown, for whoever reads a log."""
    whose = f" for {told['each']} {told['counted']}" if told["counted"] else ""
    when = "in all" if told["period"] == "total" else f"in the {told['period']} from {told['begins']}"
    return (
        f'Budget "{told["budget"]}"{whose}: {told["share"]} % of {told["amount_usd"]} USD are reached,'
        f" {told['spent_usd']} are spent {when}"
    )
