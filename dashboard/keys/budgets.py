"""Budgets, and one of them with what it counts apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import close_old_connections
from django.db.models import Q

from dashboard.keys.one import events_about
from orchestrator.core.dollars import read_dollars
from orchestrator.core.permissions import EVERYBODY, Reach
from orchestrator.ledger.pace import About, Use, spent_by_day, uses
from orchestrator.models import AuditEvent, AuditHead, Budget

MOST_SHOWN = 100
UNDONE_WITHIN = timedelta(hours=1)
EVENTS_BACK = 500


@dataclass(frozen=True, slots=True)
class Budgets:
    """Those that count, the worst first, and those that are off."""

    uses: Sequence[Use]
    more: int
    off: Sequence[Budget]
    more_off: int


@dataclass(frozen=True, slots=True)
class OneBudget:
    """A budget, how it stands for each that it counts apart, and how it came to be so."""

    row: Budget
    uses: Sequence[Use]
    use: Use | None  # the one that is looked at
    burnt: Mapping[date, int]
    events: Sequence[AuditEvent]
    undo: int | None  # the amount before the viewer's own change of just now


def read_budgets(reach: Reach, now: datetime) -> Budgets:
    """Read them, in four queries."""
    close_old_connections()
    found = uses(reach, now)
    off = Budget.objects.filter(is_off=True).select_related("tenant", "team", "key").order_by("name")
    if reach.tenants is not None:
        off = off.filter(tenant__in=reach.tenants)
    more = found.more + max(0, len(found.rows) - MOST_SHOWN)
    return Budgets(found.rows[:MOST_SHOWN], more, list(off[:MOST_SHOWN]), max(0, off.count() - MOST_SHOWN))


def read_budget(number: int, reach: Reach, audit: Reach, viewer: str, now: datetime, under: str) -> OneBudget | None:
    """Read it; None where there is none, or not for who looks. `under`: which of those it counts apart."""
    close_old_connections()
    found = uses(reach, now, About(Q(pk=number))).rows
    rows = Budget.objects.select_related("tenant", "team", "key")
    row = found[0].budget if found else rows.filter(_theirs(reach), pk=number).first()
    if row is None:
        return None
    use = next((one for one in found if one.under == under), found[0] if found else None)
    return OneBudget(
        row=row,
        uses=found,
        use=use,
        burnt=spent_by_day(use, reach) if use is not None and viewer else {},
        events=events_about(Q(subject=f"budget {row.name}"), audit),
        undo=_undo(row, viewer, now) if viewer else None,
    )


def _theirs(reach: Reach) -> Q:
    return Q() if reach.tenants is None else Q(tenant__in=reach.tenants)


def _undo(row: Budget, viewer: str, now: datetime) -> int | None:
    """What it was before its last change, where that was the viewer's own and is not long ago."""
    head = AuditHead.objects.first()
    if head is None:
        return None
    events = AuditEvent.objects.of(EVERYBODY).filter(
        pk__gt=head.event_id - EVENTS_BACK, subject=f"budget {row.name}", at__gte=now - UNDONE_WITHIN
    )
    last = events.order_by("-pk").first()
    if last is None or last.actor != viewer or last.action != "budget.changed":
        return None
    change = last.details.get("amount_usd")
    if change is None or read_dollars(change[1]) != row.amount_microusd:
        return None
    return read_dollars(change[0])
