"""The machines that spend the same budgets, as far as this one has heard of them."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from orchestrator.core.budgets import begins
from orchestrator.core.dollars import dollars
from orchestrator.core.errors import BadRequest, Conflict, Forbidden, NotThere
from orchestrator.core.permissions import EVERYBODY, Permission
from orchestrator.identity.acting import MOST_SHOWN, Actor
from orchestrator.models import Budget, Machine, ShareElsewhere


def machines(by: Actor) -> list[dict[str, Any]]:
    """All, by their labels. Raises Forbidden."""
    _must_manage_all(by, Permission.SEE_BUDGETS)
    return [
        {
            "machine": row.name,
            "label": row.label,
            "is_this": row.is_own,
            "gone": row.gone,
            "seen_at": row.seen_at,
        }
        for row in Machine.objects.all()
    ]


def uncounted() -> list[str]:
    """Other machines that spend these budgets and are counted nowhere, since this process has no `REDIS_URL`."""
    if settings.REDIS_URL:
        return []
    spent = ShareElsewhere.objects.values("machine")
    there = Machine.objects.filter(is_own=False).exclude(gone=Machine.Gone.MOVED)
    return [row.label or row.name for row in there.filter(Q(gone="") | Q(name__in=spent))]


def release(by: Actor, name: str, *, moved: bool = False) -> Machine:
    """Another machine does not come back: what it was granted and is not known to have used is free again.

    moved  its ledger is here, or on a third, and counts all that it spent. Raises NotThere, BadRequest, Conflict,
    Forbidden.
    """
    _must_manage_all(by, Permission.CHANGE_BUDGETS)
    with transaction.atomic():
        row = Machine.objects.filter(name=name).first()
        if row is None:
            raise NotThere(f"There is no machine {name[:MOST_SHOWN]!r} among those that were heard of.")
        if row.is_own:
            raise BadRequest("That is this machine; say so on another one, when this one is gone.")
        if row.gone:
            raise Conflict(f"Machine {row} was said to be {row.gone} already.")
        row.gone = Machine.Gone.MOVED if moved else Machine.Gone.LOST
        row.save(update_fields=["gone"])
        if moved:
            ShareElsewhere.objects.filter(machine=name).delete()
        by.note("machine.released", f"machine {row.label} ({row.name})", None, {"gone": row.gone})
    return row


def stated_elsewhere(row: Budget) -> list[dict[str, str]]:
    """Which other amounts are stated for a budget, and where: the smallest holds."""
    if not settings.REDIS_URL:
        return []
    first = begins(row.rule.period, timezone.now())
    of_period = ShareElsewhere.objects.filter(budget_id=row.pk, begins=first, amount_microusd__isnull=False)
    others = of_period.exclude(amount_microusd=row.amount_microusd).order_by("machine")
    found = list(others.values_list("machine", "amount_microusd").distinct())
    labels = dict(Machine.objects.values_list("name", "label")) if found else {}
    return [{"machine": labels.get(name) or name, "amount_usd": dollars(amount or 0)} for name, amount in found]


def _must_manage_all(by: Actor, permission: Permission) -> None:
    if by.must(permission) != EVERYBODY:
        raise Forbidden("Machines are the matter of who manages every tenant.")
