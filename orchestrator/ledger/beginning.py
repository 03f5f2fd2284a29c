"""A budget that is made or changed in the middle of its period counts what was spent before, and what is under way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from typing import NamedTuple

from django.db import connections
from django.db.models import Min, Sum

from orchestrator.core.budgets import Budget as Rule
from orchestrator.core.budgets import begins, ends, under
from orchestrator.core.permissions import EVERYBODY
from orchestrator.ledger import accounts
from orchestrator.ledger.accounts import Account, Used
from orchestrator.ledger.reserving import add_lines
from orchestrator.ledger.rows import ALIAS
from orchestrator.ledger.sql import moment
from orchestrator.models import ApiKey, Budget, BudgetPeriod, Charge, Hold, HoldLine, SpendDay


class _Call(NamedTuple):
    """Whose a call is and where it goes."""

    tenant_id: int
    team_id: int | None
    key_id: int | None
    first_key_id: int | None
    model: str
    provider: str


def begin_budget(budget: Budget, at: datetime) -> None:
    """Count its period of `at` anew. Whoever calls it is in a transaction, so that no call is made meanwhile."""
    first_of = dict(ApiKey.objects.of(EVERYBODY).filter(first_id__isnull=False).values_list("pk", "first_id"))
    rule = budget.rule
    first = begins(rule.period, at)
    of_it = BudgetPeriod.objects.filter(budget_id=budget.pk)
    of_it.filter(begins=first).delete()
    of_it.update(reserved_microusd=0)
    HoldLine.objects.filter(budget_id=budget.pk).delete()
    if budget.is_off:
        return
    moves: defaultdict[Account, Used] = defaultdict(Used)
    for call, cost in _spent(budget, first, ends(rule.period, first), first_of):
        if _is_about(budget, rule, call, first_of):
            account = Account.of(budget.pk, under(rule, call, call.model, call.provider), first)
            moves[account] = Used(moves[account].spent + cost, 0)
    lines = []
    for hold, held_at, amount, call in _held(first_of):
        if _is_about(budget, rule, call, first_of):
            account = Account.of(budget.pk, under(rule, call, call.model, call.provider), begins(rule.period, held_at))
            moves[account] = Used(moves[account].spent, moves[account].reserved + amount)
            lines.append((hold, account, amount))
    with connections[ALIAS].cursor() as cursor:
        accounts.move(cursor, moves)
        add_lines(cursor, lines)
        now = [account for account in moves if account.begins == first.isoformat()]
        accounts.tell_of_shares(cursor, now, moment(at))


def _spent(
    budget: Budget, first: date, end: date | None, first_of: dict[int, int | None]
) -> Iterator[tuple[_Call, int]]:
    """What was spent from the first day until the end, by the sums of days: others wait to write meanwhile.

    Those know no teams. Where teams are told apart it is by charges, and by the sums of days whose charges are gone.
    """
    days = SpendDay.objects.of(EVERYBODY).filter(day__gte=first).order_by()
    charges = Charge.objects.of(EVERYBODY).filter(at__gte=datetime.combine(first, time(), UTC)).order_by()
    if end is not None:
        days, charges = days.filter(day__lt=end), charges.filter(at__lt=datetime.combine(end, time(), UTC))
    if budget.tenant_id is not None:
        days, charges = days.filter(tenant_id=budget.tenant_id), charges.filter(tenant_id=budget.tenant_id)
    teams: dict[int, int | None] = {}
    if budget.team_id is not None or budget.each == "team":
        teams = dict(ApiKey.objects.of(EVERYBODY).values_list("pk", "team_id"))
        oldest = Charge.objects.of(EVERYBODY).aggregate(at=Min("at"))["at"]
        days = days.filter(day__lt=oldest.date()) if oldest else days
        for tenant, team, key, model, provider, cost in charges.values_list(
            "tenant_id", "team_id", "key_id", "model", "provider"
        ).annotate(cost=Sum("cost_microusd", default=0)):
            yield _Call(tenant, team, key, first_of.get(key), model, provider), cost
    for tenant, key, model, provider, cost in days.values_list("tenant_id", "key_id", "model", "provider").annotate(
        cost=Sum("cost_microusd")
    ):
        yield _Call(tenant, teams.get(key), key or None, first_of.get(key), model, provider), cost


def _held(first_of: dict[int, int | None]) -> Iterator[tuple[str, datetime, int, _Call]]:
    for hold in Hold.objects.all():
        of = hold.call
        key = of.get("key_id")
        call = _Call(of["tenant_id"], of.get("team_id"), key, first_of.get(key), of["model"], of["provider"])
        yield hold.pk, hold.at, hold.amount_microusd or 0, call


def _is_about(budget: Budget, rule: Rule, call: _Call, first_of: dict[int, int | None]) -> bool:
    """Whether it counts a call; as identity has it, which gives callers their budgets."""
    return (
        budget.tenant_id in {None, call.tenant_id}
        and budget.team_id in {None, call.team_id}
        and (budget.key_id is None or _first(budget.key_id, first_of) == (call.first_key_id or call.key_id))
        and (rule.each != "key" or call.key_id is not None)
        and (rule.each != "team" or call.team_id is not None)
        and rule.is_about(call.model, call.provider)
    )


def _first(key: int, first_of: dict[int, int | None]) -> int:
    return first_of.get(key) or key
