"""A budget that is made or changed in the middle of its period counts what was spent before, and what is under way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time
from typing import NamedTuple, cast

from django.db import connections
from django.db.models import Min, Sum

from orchestrator.core.budgets import EVER, Period, begins, ends
from orchestrator.core.limits import is_named
from orchestrator.core.permissions import EVERYBODY
from orchestrator.ledger import accounts
from orchestrator.ledger.accounts import Account, Used
from orchestrator.ledger.reserving import add_lines
from orchestrator.ledger.rows import ALIAS
from orchestrator.ledger.sql import moment
from orchestrator.models import ApiKey, Budget, BudgetPeriod, Charge, Hold, HoldLine, SpendDay

LONGEST_UNDER = 255  # characters


class _Call(NamedTuple):
    """Whose a call is and where it goes."""

    tenant_id: int
    team_id: int
    key_id: int
    model: str
    provider: str


def begin_budget(budget: Budget, at: datetime, first_key: Callable[[int], int] = lambda key: key) -> None:
    """Count its period of `at` anew. Whoever calls it is in a transaction, so that no call is made meanwhile.

    first_key  of a key that took another's place, the first of those: they are counted as one.
    """
    period = cast(Period, budget.period)
    first = begins(period, at)
    of_it = BudgetPeriod.objects.filter(budget_id=budget.pk)
    of_it.filter(begins=first).delete()
    of_it.update(reserved_microusd=0)
    HoldLine.objects.filter(budget_id=budget.pk).delete()
    if budget.is_off:
        return
    moves: defaultdict[Account, Used] = defaultdict(Used)
    for call, cost in _spent(first, ends(period, first)):
        if _is_about(budget, call, first_key):
            account = Account.of(budget.pk, _under(budget, call, first_key), first)
            moves[account] = Used(moves[account].spent + cost, 0)
    lines = []
    for hold, held_at, amount, call in _held():
        if _is_about(budget, call, first_key):
            account = Account.of(budget.pk, _under(budget, call, first_key), begins(period, held_at))
            moves[account] = Used(moves[account].spent, moves[account].reserved + amount)
            lines.append((hold, account, amount))
    with connections[ALIAS].cursor() as cursor:
        accounts.move(cursor, moves)
        add_lines(cursor, lines)
        now = [account for account in moves if account.begins == first.isoformat()]
        accounts.tell_of_shares(cursor, now, moment(at))


def _spent(first: date, end: date | None) -> Iterator[tuple[_Call, int]]:
    """What was spent from the first day until the end: by charges, and by the sums of days whose charges are gone."""
    charges = Charge.objects.of(EVERYBODY).order_by()
    if first == EVER:
        oldest = charges.aggregate(at=Min("at"))["at"]
        days = SpendDay.objects.of(EVERYBODY).filter(day__lt=oldest.date() if oldest else date.max).order_by()
        teams = dict(ApiKey.objects.of(EVERYBODY).values_list("pk", "team_id"))
        for tenant, key, model, provider, cost in days.values_list("tenant_id", "key_id", "model", "provider").annotate(
            cost=Sum("cost_microusd")
        ):
            yield _Call(tenant, teams.get(key) or 0, key, model, provider), cost
    within = charges.filter(at__gte=datetime.combine(first, time(), UTC))
    if end is not None:
        within = within.filter(at__lt=datetime.combine(end, time(), UTC))
    for tenant, team, key, model, provider, cost in within.values_list(
        "tenant_id", "team_id", "key_id", "model", "provider"
    ).annotate(cost=Sum("cost_microusd", default=0)):
        yield _Call(tenant, team or 0, key or 0, model, provider), cost


def _held() -> Iterator[tuple[str, datetime, int, _Call]]:
    for hold in Hold.objects.all():
        of = hold.call
        call = _Call(of["tenant_id"], of.get("team_id") or 0, of.get("key_id") or 0, of["model"], of["provider"])
        yield hold.pk, hold.at, hold.amount_microusd or 0, call


def _is_about(budget: Budget, call: _Call, first_key: Callable[[int], int]) -> bool:
    """Whether it counts a call; as `core.budgets` says it of the calls of a caller."""
    return (
        budget.tenant_id in {None, call.tenant_id}
        and budget.team_id in {None, call.team_id}
        and (budget.key_id is None or (call.key_id != 0 and first_key(budget.key_id) == first_key(call.key_id)))
        and (not budget.provider or budget.provider == call.provider)
        and (not budget.model or is_named(call.model, budget.model))
    )


def _under(budget: Budget, call: _Call, first_key: Callable[[int], int]) -> str:
    """What it counts a call under."""
    match budget.each:
        case "key":
            return str(first_key(call.key_id) if call.key_id else 0)
        case "team":
            return str(call.team_id)
        case "tenant":
            return str(call.tenant_id)
        case "model":
            return call.model[:LONGEST_UNDER]
        case "provider":
            return call.provider[:LONGEST_UNDER]
        case _:
            return ""
