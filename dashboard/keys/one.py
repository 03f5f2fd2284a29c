"""One key, and one tenant: what is known of each, bounded whatever its age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import close_old_connections
from django.db.models import OuterRef, Q, QuerySet, Subquery, Sum

from dashboard.keys.board import HELD_BACK, LATELY, KeyRow, Lately, key_row, with_rotated
from orchestrator.core.permissions import EVERYBODY, NOBODY, Reach
from orchestrator.ledger.pace import About, Use, uses
from orchestrator.models import ApiKey, AuditEvent, AuditHead, Limit, RequestRecord, SpendDay, Team, Tenant

MOST_COUNTED = 1_000  # requests of a key in an hour
MOST_EVENTS = 10
EVENTS_BACK = 5_000  # how far an event about something is looked for
MOST_LIMITS = 50
MOST_TEAMS = 100
DAYS = 30


@dataclass(frozen=True, slots=True)
class OneKey:
    """A key, and what it did."""

    row: KeyRow
    replaced_by: ApiKey | None
    last: RequestRecord | None
    is_more: bool  # requests in the last hour than are counted
    limits: Sequence[Limit]
    uses: Sequence[Use]
    spent: int  # in so many days
    saved: int
    events: Sequence[AuditEvent]


@dataclass(frozen=True, slots=True)
class OneTenant:
    """A tenant, and what it may."""

    tenant: Tenant
    teams: Sequence[Team]
    limits: Sequence[Limit]
    uses: Sequence[Use]
    spent: int
    events: Sequence[AuditEvent]


def read_key(number: int, reach: Reach, budgets: Reach, audit: Reach, now: datetime) -> OneKey | None:
    """Read it; None where there is none, or not for who looks."""
    close_old_connections()
    keys = with_rotated(ApiKey.objects.of(reach)).select_related("tenant", "team", "owner", "replaces")
    later = ApiKey.objects.of(EVERYBODY).filter(replaces=OuterRef("pk"), revoked_at=None).order_by("pk")
    told = {f"later_{field}": Subquery(later.values(field)[:1]) for field in ("id", "prefix")}
    key = keys.filter(pk=number).annotate(**told).first()
    if key is None:
        return None
    counted, is_more, last = asked_lately(key, now)
    spent = SpendDay.objects.of(Reach(frozenset({key.tenant_id}))).filter(
        key_id=key.pk, day__gt=now.date() - timedelta(days=DAYS)
    )
    sums = spent.aggregate(spent=Sum("cost_microusd"), saved=Sum("saved_microusd"))
    first = key.first_id or key.pk
    about = Q(key=None) | Q(key=first) | Q(key__first_id=first)
    about &= Q(team=None) | Q(team=key.team_id) if key.team_id else Q(team=None)
    limits = Limit.objects.filter(about & (Q(tenant=None) | Q(tenant=key.tenant_id)))
    return OneKey(
        row=key_row(key, now, counted),
        replaced_by=_replaced_by(key),
        last=last,
        is_more=is_more,
        limits=_limits(limits, reach),
        uses=_uses(budgets, now, _of_key(first)),
        spent=sums["spent"] or 0,
        saved=sums["saved"] or 0,
        events=events_about(Q(subject__startswith=f"key {key.prefix} "), audit),
    )


def read_tenant(number: int, reach: Reach, budgets: Reach, audit: Reach, now: datetime) -> OneTenant | None:
    """Read it; None where there is none, or not for who looks."""
    close_old_connections()
    if number not in reach:  # type: ignore[comparison-overlap]  # it says itself what is in it
        return None
    tenant = Tenant.objects.filter(pk=number).first()
    if tenant is None:
        return None
    only = Reach(frozenset({number}))
    spent = SpendDay.objects.of(only).filter(day__gt=now.date() - timedelta(days=DAYS))
    return OneTenant(
        tenant=tenant,
        teams=list(Team.objects.of(only).order_by("name")[:MOST_TEAMS]),
        limits=_limits(Limit.objects.filter(Q(tenant=number)), reach),
        uses=_uses(budgets, now, _of_tenant(number)),
        spent=spent.aggregate(spent=Sum("cost_microusd"))["spent"] or 0,
        events=events_about(Q(subject=f"tenant {tenant.name}"), audit),
    )


def asked_lately(key: ApiKey, now: datetime) -> tuple[Lately, bool, RequestRecord | None]:
    """What was asked with a key in the last hour, whether that is more, and its last request."""
    rows = RequestRecord.objects.of(EVERYBODY).filter(key_id=key.pk).order_by("-pk")  # by the index on keys
    newest = list(rows.only("at", "outcome", "model", "endpoint", "asked_model", "dialect")[: MOST_COUNTED + 1])
    within = [row for row in newest if row.at >= now - LATELY]
    held = sum(row.outcome in HELD_BACK for row in within)
    return Lately(min(len(within), MOST_COUNTED), held), len(within) > MOST_COUNTED, newest[0] if newest else None


def _replaced_by(key: Any) -> ApiKey | None:
    """The key that took its place, as far as a link to it wants."""
    return ApiKey(pk=key.later_id, prefix=key.later_prefix) if key.later_id else None


def events_about(what: Q, reach: Reach) -> list[AuditEvent]:
    """The newest events about something, of the newest that there are."""
    if reach == NOBODY:
        return []
    newest = Subquery(AuditHead.objects.values("event_id")[:1])
    rows = AuditEvent.objects.of(reach, by_tenant=False).filter(what, pk__gt=newest - EVENTS_BACK)
    return list(rows.order_by("-pk")[:MOST_EVENTS])


def _limits(rows: QuerySet[Limit], reach: Reach) -> list[Limit]:
    """Those that are everybody's are seen by who manages everybody's."""
    found = rows.select_related("tenant", "team", "key").order_by("name")
    if reach.tenants is not None:
        found = found.filter(tenant__in=reach.tenants)
    return list(found[:MOST_LIMITS])


def _uses(budgets: Reach, now: datetime, about: About) -> list[Use]:
    return [] if budgets == NOBODY else uses(budgets, now, about).rows


def _of_key(first: int) -> About:
    """Of a key that may have been rotated: it is counted under the first."""
    return About(Q(key=first) | Q(key__first_id=first), "key", str(first))


def _of_tenant(number: int) -> About:
    return About(Q(tenant=number), "tenant", str(number))
