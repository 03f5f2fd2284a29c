"""A budget that is made or changed in the middle of its period counts what was spent before, and what is under way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from django.db import connections
from django.db.models import Max, Min, Sum

from orchestrator.core.budgets import Budget as Rule
from orchestrator.core.budgets import begins, ends, under
from orchestrator.core.permissions import EVERYBODY
from orchestrator.ledger import accounts
from orchestrator.ledger.accounts import Account, Used
from orchestrator.ledger.reserving import add_lines
from orchestrator.ledger.rows import ALIAS
from orchestrator.ledger.sql import moment
from orchestrator.models import ApiKey, Budget, BudgetPeriod, Charge, Hold, HoldLine, SpendDay

A_DAY = timedelta(days=1)


class _Call(NamedTuple):
    """Whose a call is and where it goes."""

    tenant_id: int
    team_id: int | None
    key_id: int | None
    first_key_id: int | None
    model: str
    provider: str


class Before(NamedTuple):
    """What a period has cost, by the charges up to one of them.

    of      the first day of the period, and the tenant that it is about.    newest  the number of that charge.
    since   the day from which there are all charges; of earlier ones some have gone.
    sums    tenant, team, key, model, provider, and what was spent, in millionths of a dollar.
    """

    of: tuple[date, int | None]
    newest: int
    since: date
    sums: Sequence[tuple[int, int | None, int | None, str, str, int]]


def sum_before(budget: Budget, at: datetime) -> Before | None:
    """Sum up the charges of its period of `at`, so that `begin_budget` has the newer ones only to look at.

    That may take long, and is to be done before the transaction, for which everybody waits. None where no charge has to
    be read, there is none, or it is to be done again. Charges are written once, and numbered in that order.
    """
    if not _is_by_team(budget):
        return None
    first = begins(budget.rule.period, at)
    every = Charge.objects.of(EVERYBODY).order_by()
    newest, since = every.aggregate(pk=Max("pk"))["pk"], _since()
    if newest is None or since is None:
        return None
    charges = every.filter(pk__lte=newest, at__gte=_midnight(max(first, since)))
    if (end := ends(budget.rule.period, first)) is not None:
        charges = charges.filter(at__lt=_midnight(end))
    if budget.tenant_id is not None:
        charges = charges.filter(tenant_id=budget.tenant_id)
    columns = charges.values_list("tenant_id", "team_id", "key_id", "model", "provider")
    sums = list(columns.annotate(cost=Sum("cost_microusd", default=0)))
    # Where old charges go meanwhile, these may lack some of them.
    return Before((first, budget.tenant_id), newest, since, sums) if _since() == since else None


def begin_budget(budget: Budget, at: datetime, before: Before | None = None) -> None:
    """Count its period of `at` anew. Whoever calls it is in a transaction, so that no call is made meanwhile.

    before  what `sum_before` said of it.
    """
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
    if before is None or before.of != (first, budget.tenant_id):
        before = sum_before(budget, at)
    for call, cost in _spent(budget, first, ends(rule.period, first), first_of, before):
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
    budget: Budget, first: date, end: date | None, first_of: dict[int, int | None], before: Before | None
) -> Iterator[tuple[_Call, int]]:
    """What was spent from the first day until the end, by the sums of days: others wait to write meanwhile.

    Those know no teams. Where teams are told apart it is by charges, and by the sums of days whose charges are gone.
    """
    days = SpendDay.objects.of(EVERYBODY).filter(day__gte=first).order_by()
    if end is not None:
        days = days.filter(day__lt=end)
    if budget.tenant_id is not None:
        days = days.filter(tenant_id=budget.tenant_id)
    teams: dict[int, int | None] = {}
    if _is_by_team(budget):
        teams = dict(ApiKey.objects.of(EVERYBODY).values_list("pk", "team_id"))
    if before is not None:
        days = days.filter(day__lt=before.since)
        for tenant, team, key, model, provider, cost in (*before.sums, *_newer(before, first, end)):
            yield _Call(tenant, team, key, first_of.get(key or 0), model, provider), cost
    for tenant, key, model, provider, cost in days.values_list("tenant_id", "key_id", "model", "provider").annotate(
        cost=Sum("cost_microusd")
    ):
        yield _Call(tenant, teams.get(key), key or None, first_of.get(key), model, provider), cost


def _newer(
    before: Before, first: date, end: date | None
) -> Iterator[tuple[int, int | None, int | None, str, str, int]]:
    """Charges since then. They are found by number alone: an index of anything else has those before them, too."""
    charges = Charge.objects.of(EVERYBODY).filter(pk__gt=before.newest).order_by()
    columns = ("at", "tenant_id", "team_id", "key_id", "model", "provider", "cost_microusd")
    for at, tenant, team, key, model, provider, cost in charges.values_list(*columns):
        if max(first, before.since) <= at.date() and (end is None or at.date() < end):
            yield tenant, team, key, model, provider, cost or 0


def _since() -> date | None:
    """The day from which there are all charges: of the first day that has any, some may have gone."""
    charges = Charge.objects.of(EVERYBODY).order_by()
    oldest: datetime | None = charges.aggregate(at=Min("at"))["at"]
    if oldest is None:
        return None
    day = oldest.date()
    there = charges.filter(at__gte=_midnight(day), at__lt=_midnight(day + A_DAY)).count()
    written = SpendDay.objects.of(EVERYBODY).filter(day=day).aggregate(calls=Sum("calls", default=0))["calls"]
    return day if there >= written else day + A_DAY


def _is_by_team(budget: Budget) -> bool:
    return budget.team_id is not None or budget.each == "team"


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


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
