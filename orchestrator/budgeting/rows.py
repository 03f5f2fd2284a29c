"""The rows of budgets: made, changed and deleted, each with an event that tells of it."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

from django.conf import settings
from django.db import connections, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from orchestrator.audit import differences
from orchestrator.budgeting import claiming
from orchestrator.budgeting.patterns import counts_nothing
from orchestrator.core.budgets import EACH_OF, begins
from orchestrator.core.dollars import dollars
from orchestrator.core.errors import BadRequest, Conflict, Forbidden, NotThere
from orchestrator.core.permissions import EVERYBODY, Permission
from orchestrator.core.presets import BY_NAME
from orchestrator.identity.acting import MOST_SHOWN, Actor
from orchestrator.identity.asked import BudgetAsked, BudgetChange
from orchestrator.identity.whose import Whose, counted_apart, find_whose
from orchestrator.ledger import accounts
from orchestrator.ledger.accounts import Account
from orchestrator.ledger.beginning import Before, begin_budget, sum_before
from orchestrator.ledger.pace import heard_of_others
from orchestrator.ledger.rows import ALIAS
from orchestrator.ledger.sql import moment
from orchestrator.models import Budget, BudgetAlert, BudgetPeriod, HoldLine, Share, ShareElsewhere
from orchestrator.registry.models import Provider


def sum_before_made(by: Actor, asked: BudgetAsked) -> Before | None:
    """What `make` is to know: outside of its transaction, since it may take long. Raises what that does."""
    row = _asked_for(by, asked)
    return None if row.is_off else sum_before(row, timezone.now())


def make(by: Actor, asked: BudgetAsked, before: Before | None = None) -> Budget:
    """Make a budget, with what was spent in its period already.

    before  what `sum_before_made` said.

    Raises BadRequest, NotThere, Forbidden; Conflict when there is one of that name.
    """
    with transaction.atomic():
        row = _asked_for(by, asked)
        row.save()
        if not row.is_off:
            begin_budget(row, timezone.now(), before)
        _note(by, "budget.made", row, told(row))
    return row


def _asked_for(by: Actor, asked: BudgetAsked) -> Budget:
    """The row, not saved yet. Raises as `make`."""
    reach = by.must(Permission.CHANGE_BUDGETS)
    whose = find_whose(by, asked, Permission.CHANGE_BUDGETS)
    row = Budget(
        name=asked.name,
        period=asked.period,
        each=asked.each,
        model=asked.model,
        provider=asked.provider,
        is_given=reach == EVERYBODY,
        **whose._asdict(),
        **_columns(asked.model_dump(include={"amount_usd", "is_hard", "shares", "is_off"})),
    )
    _must_be_whole(row, whose)
    _must_be_theirs(by, row)
    if Budget.objects.filter(name=row.name).exists():
        raise Conflict(f"There is a budget called {row.name} already; the names of budgets are one list for all.")
    return row


def sum_before_changed(by: Actor, name: str, asked: BudgetChange) -> Before | None:
    """What `change` is to know, as `sum_before_made`."""
    row = find(by, name, Permission.CHANGE_BUDGETS)
    _must_be_theirs(by, row)
    is_switched_on = row.is_off and asked.given.get("is_off") is False
    return sum_before(row, timezone.now()) if is_switched_on else None


def change(
    by: Actor, name: str, asked: BudgetChange, before: Before | None = None, seen_microusd: int | None = None
) -> Budget:
    """Make a budget be otherwise, or switch it off or on. Raises NotThere, BadRequest, Forbidden, Conflict.

    While it is off nothing is counted; when it is on again what was spent meanwhile is.

    before         what `sum_before_changed` said.
    seen_microusd  the amount that who asks has before them: it is not changed where it is another by now. None: any.
    """
    with transaction.atomic():
        row = find(by, name, Permission.CHANGE_BUDGETS)
        _must_be_theirs(by, row)
        if seen_microusd is not None and row.amount_microusd != seen_microusd:
            raise Conflict(
                f"The amount was ${dollars(seen_microusd)} and is ${dollars(row.amount_microusd)} by now, as somebody"
                " else set it. Nothing was changed."
            )
        was, was_off, amount_was = told(row), row.is_off, row.amount_microusd
        for column, value in _columns(asked.given).items():
            setattr(row, column, value)
        different = differences(was, told(row))
        if different:
            row.is_given = row.is_given or by.reach(Permission.CHANGE_BUDGETS) == EVERYBODY
            row.save()
            if "amount_usd" in different:
                _forget_what_is_not_reached(row, amount_was)
            if was_off and not row.is_off:
                begin_budget(row, timezone.now(), before)
            elif different.keys() & {"amount_usd", "shares"}:
                _tell_what_is_reached(row)
            _note(by, "budget.changed", row, different)
    return row


def delete(by: Actor, name: str) -> None:
    """Take a budget away, with what was counted under it. Raises NotThere, Forbidden."""
    with transaction.atomic():
        row = find(by, name, Permission.CHANGE_BUDGETS)
        _must_be_theirs(by, row)
        _note(by, "budget.deleted", row, told(row))
        _free_places(BudgetAlert.objects.filter(budget_id=row.pk, begins=_begins(row)), row.amount_microusd)
        for counted in (BudgetPeriod, BudgetAlert, HoldLine, Share, ShareElsewhere):
            counted.objects.filter(budget_id=row.pk).delete()
        row.delete()


def find(by: Actor, name: str, permission: Permission = Permission.SEE_BUDGETS) -> Budget:
    """A budget, by its name. Raises NotThere, also for those of others."""
    row = seen(by, permission).filter(name=name).first()
    if row is None:
        raise NotThere(f"There is no budget {name[:MOST_SHOWN]!r}.")
    return row


def budgets(by: Actor, *, tenant: str | None = None, after: str | None = None) -> QuerySet[Budget]:
    """Those that `by` may see, by name; after the one called `after`."""
    found = seen(by)
    if tenant is not None:
        found = found.filter(tenant=by.tenant(tenant, Permission.SEE_BUDGETS))
    return found if after is None else found.filter(name__gt=after)


def seen(by: Actor, permission: Permission = Permission.SEE_BUDGETS) -> QuerySet[Budget]:
    """Those for which `by` has the permission."""
    reach = by.must(permission)
    found = Budget.objects.select_related("tenant", "team", "key").order_by("name")
    return found if reach.tenants is None else found.filter(tenant__in=reach.tenants)


def told(row: Budget) -> dict[str, Any]:
    """A budget, as it is asked for."""
    return {
        "name": row.name,
        "period": row.period,
        "each": row.each,
        "amount_usd": dollars(row.amount_microusd),
        "is_hard": row.is_hard,
        "shares": list(row.rule.shares),
        "tenant": row.tenant.name if row.tenant else None,
        "team": row.team.name if row.team else None,
        "key": row.key.prefix if row.key else None,
        "model": row.model,
        "provider": row.provider,
        "is_off": row.is_off,
    }


def _columns(asked: dict[str, Any]) -> dict[str, Any]:
    """What is asked for, as the table has it."""
    columns = dict(asked)
    if "amount_usd" in columns:
        columns["amount_microusd"] = columns.pop("amount_usd")
    if "shares" in columns:
        columns["shares"] = ",".join(map(str, columns["shares"]))
    return columns


def _must_be_whole(row: Budget, whose: Whose) -> None:
    """Raises BadRequest when its fields do not go together, or name what there is not."""
    allowed = counted_apart(whose, EACH_OF)
    if row.each not in allowed:
        raise BadRequest(f"each: counted apart within this can be {', '.join(allowed)}.")
    if row.provider and row.provider not in BY_NAME and not Provider.objects.filter(name=row.provider).exists():
        raise BadRequest(
            f"provider: there is none called {row.provider!r}; `openai` is one, and those of the registry."
        )
    if why := counts_nothing(row.model, row.provider):
        raise BadRequest(f"model: {why}.")


def _must_be_theirs(by: Actor, row: Budget) -> None:
    """Raises Forbidden for what binds whoever manages some tenants only: nobody gives themselves more to spend."""
    if by.reach(Permission.CHANGE_BUDGETS) == EVERYBODY:
        return
    if row.team is None and row.key is None:
        raise Forbidden("Budgets of a whole tenant are set by who manages every tenant; name a team or a key.")
    if row.is_given:
        raise Forbidden("This budget was set by who manages every tenant, and only they change it.")


def _forget_what_is_not_reached(row: Budget, amount_was: int) -> None:
    """Shares that a raised budget has not come to any more are told when it does, as if for the first time."""
    first = _begins(row)
    used = BudgetPeriod.objects.filter(budget_id=row.pk, under=OuterRef("under"), begins=first)
    spent = F("spent_microusd") + heard_of_others("spent")
    reached = used.annotate(hundredfold=spent * 100, share=OuterRef("share")).filter(
        hundredfold__gte=F("share") * row.amount_microusd
    )
    forgotten = BudgetAlert.objects.filter(budget_id=row.pk, begins=first).exclude(Exists(reached))
    _free_places(forgotten, amount_was)
    forgotten.delete()


def _free_places(rows: QuerySet[BudgetAlert], amount: int) -> None:
    """Of alerts that are forgotten: another machine may be the first to come to that share of that amount again."""
    if settings.REDIS_URL and (places := claiming.places_of(list(rows), amount)):
        # Acts are done in threads and by commands, where no event loop runs.
        transaction.on_commit(lambda: asyncio.run(claiming.forget(places)))


def _tell_what_is_reached(row: Budget) -> None:
    """Of a lowered budget no call may come any more that would tell."""
    now, first = timezone.now(), _begins(row)
    used = BudgetPeriod.objects.filter(budget_id=row.pk, begins=first).values_list("under", flat=True)
    with connections[ALIAS].cursor() as cursor:
        accounts.tell_of_shares(cursor, [Account.of(row.pk, under, first) for under in used], moment(now))


def _begins(row: Budget) -> date:
    """When the period began that runs."""
    return begins(row.rule.period, timezone.now())


def _note(by: Actor, action: str, row: Budget, details: dict[str, Any]) -> None:
    by.note(action, f"budget {row.name}", row.tenant_id, details)
