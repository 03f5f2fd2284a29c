"""The rows of limits: made, changed and deleted, each with an event that tells of it. What they do is `limits`'."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from orchestrator.audit import differences
from orchestrator.core.errors import BadRequest, Conflict, Forbidden, NotThere
from orchestrator.core.limits import EACH
from orchestrator.core.permissions import EVERYBODY, Permission
from orchestrator.identity.acting import MOST_SHOWN, Actor
from orchestrator.identity.asked import LimitAsked, LimitChange
from orchestrator.identity.whose import Whose, counted_apart, find_whose
from orchestrator.models import Limit

FIELDS = ("amount", "per_s", "burst", "each", "model", "network", "is_off")
RATES = ("requests", "tokens")
MOST_BURST = 100  # times the amount


def make(by: Actor, asked: LimitAsked) -> Limit:
    """Make a limit. Raises BadRequest, NotThere, Forbidden; Conflict when there is one of that name."""
    by.must(Permission.CHANGE_KEYS)
    with transaction.atomic():
        row = Limit(name=asked.name, kind=asked.kind, **asked.model_dump(include=set(FIELDS)))
        row.tenant, row.team, row.key = find_whose(by, asked, Permission.CHANGE_KEYS)
        _must_be_whole(row)
        _must_be_theirs(by, row)
        if Limit.objects.filter(name=row.name).exists():
            raise Conflict(f"There is a limit called {row.name} already; the names of limits are one list for all.")
        row.save()
        _note(by, "limit.made", row, told(row))
    return row


def change(by: Actor, name: str, asked: LimitChange) -> Limit:
    """Make a limit be otherwise, or switch it off or on. Raises NotThere, BadRequest, Forbidden."""
    with transaction.atomic():
        row = find(by, name, Permission.CHANGE_KEYS)
        _must_be_theirs(by, row)
        before = told(row)
        for field, value in asked.given.items():
            setattr(row, field, value)
        _must_be_whole(row)
        after = told(row)
        different = differences(before, after)
        if different:
            row.save()
            _note(by, "limit.changed", row, different)
    return row


def delete(by: Actor, name: str) -> None:
    """Take a limit away. Raises NotThere, Forbidden."""
    with transaction.atomic():
        row = find(by, name, Permission.CHANGE_KEYS)
        _must_be_theirs(by, row)
        _note(by, "limit.deleted", row, told(row))
        row.delete()


def find(by: Actor, name: str, permission: Permission = Permission.SEE_KEYS) -> Limit:
    """A limit, by its name. Raises NotThere, also for those of others."""
    row = _seen(by, permission).filter(name=name).first()
    if row is None:
        raise NotThere(f"There is no limit {name[:MOST_SHOWN]!r}.")
    return row


def limits(by: Actor, *, tenant: str | None = None, after: str | None = None) -> QuerySet[Limit]:
    """Those that `by` may see, by name; after the one called `after`."""
    found = _seen(by, Permission.SEE_KEYS)
    if tenant is not None:
        found = found.filter(tenant=by.tenant(tenant, Permission.SEE_KEYS))
    return found if after is None else found.filter(name__gt=after)


def told(row: Limit) -> dict[str, Any]:
    """A limit, as it is asked for."""
    return {
        "name": row.name,
        "kind": row.kind,
        "tenant": row.tenant.name if row.tenant else None,
        "team": row.team.name if row.team else None,
        "key": row.key.prefix if row.key else None,
        **{field: getattr(row, field) for field in FIELDS},
    }


def _seen(by: Actor, permission: Permission) -> QuerySet[Limit]:
    reach = by.must(permission)
    found = Limit.objects.select_related("tenant", "team", "key").order_by("name")
    return found if reach.tenants is None else found.filter(tenant__in=reach.tenants)


def _must_be_whole(row: Limit) -> None:
    """Raises BadRequest when its fields do not go together."""
    is_rate = row.kind in RATES
    if is_rate and row.per_s is None:
        raise BadRequest(f"per_s: {row.kind} are counted by time; say in how many seconds.")
    if not is_rate and row.per_s is not None:
        raise BadRequest(f"per_s: {row.kind} is no matter of time; leave it out.")
    if not is_rate and row.burst is not None:
        raise BadRequest(f"burst: only requests and tokens have one, {row.kind} has not; leave it out.")
    if row.burst is not None and row.burst > row.amount * MOST_BURST:
        raise BadRequest(f"burst: it is {MOST_BURST} times the amount at most, here {row.amount * MOST_BURST}.")
    allowed = counted_apart(Whose(row.tenant, row.team, row.key), EACH)
    if row.kind == "cache_bytes":
        allowed = ["tenant"]
        if row.team or row.key or row.model or row.network:
            raise BadRequest("cache_bytes: the cache is kept by tenant; leave team, key, model and network out.")
    if row.each not in allowed:
        raise BadRequest(f"each: counted apart within this can be {', '.join(allowed)}.")


def _must_be_theirs(by: Actor, row: Limit) -> None:
    """Raises Forbidden for what is set for a tenant as a whole, by whoever manages no other: it binds them."""
    if by.reach(Permission.CHANGE_KEYS) != EVERYBODY and row.team is None and row.key is None:
        raise Forbidden("Limits of a whole tenant are set by who manages every tenant; name a team or a key.")


def _note(by: Actor, action: str, row: Limit, details: dict[str, Any]) -> None:
    by.note(action, f"limit {row.name}", row.tenant_id, details)
