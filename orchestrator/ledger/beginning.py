"""A budget that begins in the middle of its period: what was spent and is reserved of it already."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any

from django.db import transaction
from django.utils import timezone

from orchestrator.core.budgets import begins, under
from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import ApiKey, Budget, BudgetPeriod, Charge, Hold, HoldLine

_COLUMNS = ("tenant_id", "key_id", "team_id", "model", "provider")


@dataclass(frozen=True, slots=True)
class _Asker:
    tenant_id: int
    key_id: int | None
    team_id: int | None
    first_key_id: int | None


def begin_budget(row: Budget) -> None:
    """Count under `row`, from nothing, what was charged and is reserved in the period that runs."""
    rule = row.rule
    first = begins(rule.period, timezone.now())
    since = datetime.combine(first, time(), UTC)
    with transaction.atomic():
        BudgetPeriod.objects.filter(budget_id=row.pk, begins=first).delete()
        HoldLine.objects.filter(budget_id=row.pk, begins=first).delete()
        keys = ApiKey.objects.of(EVERYBODY).filter(first_id__isnull=False).values_list("pk", "first_id")
        firsts = {key: first for key, first in keys if first is not None}
        spent: Counter[str] = Counter()
        charged = Charge.objects.of(EVERYBODY).filter(at__gte=since, cost_microusd__isnull=False)
        for call in charged.values(*_COLUMNS, "cost_microusd").iterator():
            if (word := _counted_under(row, call, firsts)) is not None:
                spent[word] += call["cost_microusd"]
        reserved: Counter[str] = Counter()
        lines = []
        for hold in Hold.objects.filter(at__gte=since).iterator():
            word = _counted_under(row, hold.call, firsts)
            if word is not None:
                amount = hold.amount_microusd or 0
                reserved[word] += amount
                lines.append(
                    HoldLine(hold_id=hold.pk, budget_id=row.pk, under=word, begins=first, amount_microusd=amount)
                )
        HoldLine.objects.bulk_create(lines)
        BudgetPeriod.objects.bulk_create(
            BudgetPeriod(
                budget_id=row.pk,
                under=word,
                begins=first,
                spent_microusd=spent[word],
                reserved_microusd=reserved[word],
            )
            for word in sorted({*spent, *reserved})
        )


def _counted_under(row: Budget, call: dict[str, Any], firsts: dict[int, int]) -> str | None:
    """The word that a call counts under; None where the budget is not about it."""
    model, provider, rule = call["model"], call["provider"], row.rule
    key, team = call["key_id"], call["team_id"]
    if not rule.is_about(model, provider) or row.tenant_id not in (None, call["tenant_id"]):
        return None
    if row.team_id not in (None, team) or (team is None and rule.each == "team"):
        return None
    if row.key_id is not None and firsts.get(row.key_id, row.key_id) != firsts.get(key, key):
        return None
    if key is None and rule.each == "key":
        return None
    return under(rule, _Asker(call["tenant_id"], key, team, firsts.get(key)), model, provider)
