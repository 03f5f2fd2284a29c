"""Tenants, their teams, and what one lets another read: made, changed, ended, each with an event that tells of it."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError, Q, QuerySet
from django.utils import timezone

from orchestrator.core.errors import BadRequest, Conflict, NotThere
from orchestrator.core.permissions import Permission, Reach
from orchestrator.identity import limiting
from orchestrator.identity.acting import MOST_SHOWN, Actor
from orchestrator.identity.asked import GrantAsked, TeamAsked, TenantAsked, TenantChange
from orchestrator.models import Grant, Team, Tenant


def make_tenant(by: Actor, asked: TenantAsked) -> Tenant:
    """Make a tenant. Raises Forbidden; Conflict when there is one of that name, also with other capitals."""
    by.must_for_all(Permission.CHANGE_PEOPLE)
    with transaction.atomic():
        if alike := Tenant.objects.filter(name__iexact=asked.name).first():
            raise Conflict(f"There is a tenant {alike} already.")
        tenant = Tenant.objects.create(name=asked.name, priority=asked.priority)
        _note(by, "tenant.made", tenant, {"priority": tenant.priority})
    return tenant


def change_tenant(by: Actor, name: str, asked: TenantChange) -> Tenant:
    """Give it another priority, suspend it or resume it. Raises NotThere, Forbidden, Conflict.

    Both are matters between tenants, so they are of who manages all of them.
    """
    with transaction.atomic():
        tenant = by.tenant(name, Permission.CHANGE_PEOPLE)
        by.must_for_all(Permission.CHANGE_PEOPLE)
        given = asked.given
        if given.get("suspended") and by.caller and by.caller.tenant_id == tenant.pk:
            raise Conflict("It is the tenant of the key you ask with; suspend it with another.")
        priority = given.get("priority", tenant.priority)
        if priority != tenant.priority:
            _note(by, "tenant.changed", tenant, {"priority": [tenant.priority, priority]})
            tenant.priority = priority
        is_suspended = given.get("suspended", tenant.suspended_at is not None)
        if is_suspended != (tenant.suspended_at is not None):
            _note(by, "tenant.suspended" if is_suspended else "tenant.resumed", tenant, {})
            tenant.suspended_at = timezone.now() if is_suspended else None
        tenant.save()
    return tenant


def tenants(by: Actor, *, after: str | None = None) -> QuerySet[Tenant]:
    """Those that `by` may see, by name; after the one called `after`."""
    reach = by.must(Permission.SEE_PEOPLE)
    found = Tenant.objects.order_by("name")
    found = found if reach.tenants is None else found.filter(pk__in=reach.tenants)
    return found if after is None else found.filter(name__gt=after)


def make_team(by: Actor, asked: TeamAsked) -> Team:
    """Make a team. Raises NotThere; Conflict when there is one of that name, also with other capitals."""
    with transaction.atomic():
        tenant = by.tenant(asked.tenant, Permission.CHANGE_KEYS)
        if alike := tenant.teams.filter(name__iexact=asked.name).first():
            raise Conflict(f"There is a team {alike} already.")
        team = Team.objects.create(tenant=tenant, name=asked.name)
        by.note("team.made", f"team {team}", tenant.pk)
    return team


def delete_team(by: Actor, tenant: str, name: str) -> None:
    """Take a team away, with its limits. Raises NotThere; Conflict while it has keys or budgets."""
    with transaction.atomic():
        owner = by.tenant(tenant, Permission.CHANGE_KEYS)
        team = owner.teams.filter(name=name).first()
        if team is None:
            raise NotThere(f"There is no team {name[:MOST_SHOWN]!r} in {tenant}.")
        words = f"team {team}"
        if team.budgets.exists():  # some may be given, and what was counted under them goes with none but themselves
            raise Conflict(f"The {words} has budgets; delete those first.")
        for limit in team.limits.all():
            limiting.delete(by, limit.name)
        try:
            team.delete()
        except ProtectedError:
            raise Conflict(f"The {words} has keys, and be they revoked; change those first.") from None
        by.note("team.deleted", words, owner.pk)


def teams(by: Actor, *, tenant: str | None = None, after: str | None = None) -> QuerySet[Team]:
    """Those that `by` may see, by tenant and name; after the one that is written `after`: `acme/web`."""
    reach = by.must(Permission.SEE_KEYS)
    found = Team.objects.of(reach).select_related("tenant").order_by("tenant__name", "name")
    if tenant is not None:
        found = found.filter(tenant=by.tenant(tenant, Permission.SEE_KEYS))
    return found if after is None else found.filter(_later("tenant__name", "name", after))


def make_grant(by: Actor, asked: GrantAsked) -> Grant:
    """Let one tenant be answered from another's cache. Raises NotThere, Conflict, BadRequest.

    It takes somebody who speaks for both: one shows its answers, the other takes what it is shown for true.
    """
    with transaction.atomic():
        owner, reader = (by.tenant(name, Permission.CHANGE_PEOPLE) for name in (asked.owner, asked.reader))
        if owner == reader:
            raise BadRequest("reader: a tenant reads its own answers anyway.")
        try:
            with transaction.atomic():
                grant = Grant.objects.create(owner=owner, reader=reader)
        except IntegrityError:
            raise Conflict(f"{reader} may read {owner}'s answers already.") from None
        _note(by, "grant.made", owner, {"reader": reader.name})
    return grant


def delete_grant(by: Actor, owner: str, reader: str) -> None:
    """End a grant; either side may. Raises NotThere."""
    reach = by.must(Permission.CHANGE_PEOPLE)
    with transaction.atomic():
        grant = Grant.objects.filter(owner__name=owner, reader__name=reader).select_related("owner", "reader").first()
        if grant is None or not any(reach.covers(Reach(frozenset({one}))) for one in (grant.owner_id, grant.reader_id)):
            raise NotThere(f"There is no grant of {owner[:MOST_SHOWN]!r} to {reader[:MOST_SHOWN]!r}.")
        grant.delete()
        _note(by, "grant.ended", grant.owner, {"reader": grant.reader.name})


def grants(by: Actor, *, after: str | None = None) -> QuerySet[Grant]:
    """Those of which `by` may see a side, by owner and reader; after the one that is written `after`: `acme/globex`."""
    reach = by.must(Permission.SEE_PEOPLE)
    found = Grant.objects.select_related("owner", "reader").order_by("owner__name", "reader__name")
    if reach.tenants is not None:
        found = found.filter(Q(owner__in=reach.tenants) | Q(reader__in=reach.tenants))
    return found if after is None else found.filter(_later("owner__name", "reader__name", after))


def _later(first: str, second: str, after: str) -> Q:
    one, _, other = after.partition("/")
    return Q(**{f"{first}__gt": one}) | Q(**{first: one, f"{second}__gt": other})


def _note(by: Actor, action: str, tenant: Tenant, details: dict[str, Any]) -> None:
    by.note(action, f"tenant {tenant}", tenant.pk, details)
