"""Keys are issued, changed, rotated and revoked: each by somebody who may, and with an event that tells of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Literal, get_args

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from orchestrator.audit import differences
from orchestrator.core.errors import BadRequest, Conflict, Forbidden, NotThere
from orchestrator.core.permissions import Permission, Role, reach_of
from orchestrator.identity.acting import MOST_SHOWN, Actor
from orchestrator.identity.asked import KeyAsked, KeyChange, Rotation
from orchestrator.identity.keys import make_key
from orchestrator.models import ApiKey, Budget, Limit, Team, Tenant

SCOPES = (
    "team",
    "owner",
    "role",
    "reaches_all",
    "model_patterns",
    "dialects",
    "families",
    "networks",
    "tags",
    "expires_at",
)
State = Literal["working", "expired", "revoked"]
STATES: tuple[State, ...] = get_args(State)


def issue(by: Actor, asked: KeyAsked) -> tuple[ApiKey, str]:
    """Make a key. Returns its row, and the credential, which cannot be had again.

    Raises NotThere, BadRequest; Forbidden where it would be given more than `by` has.
    """
    with transaction.atomic():
        tenant = by.tenant(asked.tenant, Permission.CHANGE_KEYS)
        scopes = _scopes(by, tenant, asked.model_dump(include=set(SCOPES)))
        draft = ApiKey(tenant=tenant, name=asked.name, **scopes)
        _must_be_whole(draft)
        _must_be_within(by, draft)
        key, credential = make_key(tenant, asked.name, **scopes)
        _note(by, "key.issued", key, _told(key))
    return key, credential


def change(by: Actor, prefix: str, asked: KeyChange) -> ApiKey:
    """Make a key be otherwise. Raises NotThere, BadRequest, Forbidden; Conflict when it is revoked."""
    with transaction.atomic():
        key = find(by, prefix, Permission.CHANGE_KEYS)
        _must_work(key, or_be_expired=True)
        _must_be_within(by, key)
        before = _told(key)
        given = asked.given
        name = given.pop("name", key.name)
        for field, value in {"name": name, **_scopes(by, key.tenant, given)}.items():
            setattr(key, field, value)
        _must_be_whole(key)
        _must_be_within(by, key)
        after = _told(key)
        different = differences(before, after)
        if different:
            key.save()
            _note(by, "key.changed", key, different)
    return key


def rotate(by: Actor, prefix: str, asked: Rotation) -> tuple[ApiKey, str]:
    """Make a key that may do the same in place of another, which works on for the overlap.

    Limits that were set for the old one go over to the new one, and hold for both meanwhile.
    Raises NotThere, Forbidden; Conflict when the old one does not work, or the one before it still does.
    """
    now = timezone.now()
    with transaction.atomic():
        old = find(by, prefix, Permission.CHANGE_KEYS)
        _must_work(old)
        _must_be_within(by, old)
        if later := old.replaced_by.filter(revoked_at=None).first():
            raise Conflict(f"It was rotated before, and {later.prefix} is in its place; rotate that.")
        if old.replaces and state_of(old.replaces, now) == "working":
            raise Conflict(f"The key before it, {old.replaces.prefix}, still works; revoke that first.")
        scopes = {field: getattr(old, field) for field in SCOPES}
        scopes["expires_at"] = asked.expires_at or _end_of_another(by, old, now)
        _must_be_within(by, ApiKey(tenant=old.tenant, **scopes))
        key, credential = make_key(old.tenant, old.name, replaces=old, first_id=old.first_id or old.pk, **scopes)
        ends = now + timedelta(seconds=asked.overlap_s)
        if asked.overlap_s == 0:
            old.revoked_at = now
        elif old.expires_at is None or ends < old.expires_at:
            old.expires_at = ends
        old.save()
        # Those of one that was to take its place before, and was revoked, are its own, too.
        for held in (Limit, Budget):
            held.objects.filter(Q(key=old) | Q(key__replaces=old)).update(key=key)
        _note(by, "key.rotated", key, {"replaces": old.prefix, "overlap_s": asked.overlap_s, **_told(key)})
    return key, credential


def revoke(by: Actor, prefix: str) -> ApiKey:
    """A key stops working at once and for good. Again it does nothing. Raises NotThere.

    Whoever may change keys may revoke any: in an emergency nobody has to look for somebody with more rights.
    """
    with transaction.atomic():
        key = find(by, prefix, Permission.CHANGE_KEYS)
        if key.revoked_at is None:
            key.revoked_at = timezone.now()
            key.save(update_fields=["revoked_at"])
            _note(by, "key.revoked", key, {})
    return key


def find(by: Actor, prefix: str, permission: Permission = Permission.SEE_KEYS) -> ApiKey:
    """A key, by its prefix. Raises NotThere, also for those of others."""
    key = _seen(by, permission).filter(prefix=prefix).first()
    if key is None:
        raise NotThere(f"There is no key {prefix[:MOST_SHOWN]!r}.")
    return key


def keys(
    by: Actor,
    *,
    tenant: str | None = None,
    team: str | None = None,
    state: State | None = None,
    after: str | None = None,
) -> QuerySet[ApiKey]:
    """Those that `by` may see, newest first; after the one with the prefix `after`."""
    found = _seen(by, Permission.SEE_KEYS)
    if tenant is not None:
        found = found.filter(tenant=by.tenant(tenant, Permission.SEE_KEYS))
    if team is not None:
        found = found.filter(team__name=team)
    if state is not None:
        found = found.filter(is_state(state, timezone.now()))
    if after is not None:
        found = found.filter(pk__lt=find(by, after).pk)
    return found.order_by("-pk")


def state_of(key: ApiKey, now: datetime) -> State:
    """Whether it opens anything, its tenant aside."""
    if key.revoked_at:
        return "revoked"
    return "expired" if key.expires_at and key.expires_at <= now else "working"


def is_state(state: State, now: datetime) -> Q:
    """The same, for the database."""
    if state == "revoked":
        return Q(revoked_at__isnull=False)
    is_over = Q(expires_at__lte=now)
    return Q(revoked_at=None) & (is_over if state == "expired" else ~is_over)


def _seen(by: Actor, permission: Permission) -> QuerySet[ApiKey]:
    return ApiKey.objects.of(by.must(permission)).select_related("tenant", "team", "owner", "replaces")


def _scopes(by: Actor, tenant: Tenant, asked: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, as the columns have it."""
    scopes = dict(asked)
    if scopes.get("team") is not None:
        scopes["team"] = _team(tenant, scopes["team"])
    if scopes.get("owner") is not None:
        scopes["owner"] = _owner(by, tenant, scopes["owner"])
    if "role" in scopes:
        scopes["role"] = scopes["role"] or ""
    return scopes


def _team(tenant: Tenant, name: str) -> Team:
    team = tenant.teams.filter(name=name).first()
    if team is None:
        raise BadRequest(f"team: there is none called {name!r} in {tenant}.")
    return team


def _owner(by: Actor, tenant: Tenant, name: str) -> Any:
    """A person; one of the tenant's, for whoever manages no other."""
    people = get_user_model().objects.filter(username=name, is_active=True)
    if by.reach(Permission.CHANGE_KEYS).tenants is not None:
        people = people.filter(memberships__tenant=tenant)
    owner = people.first()
    if owner is None:
        raise BadRequest(f"owner: there is nobody called {name[:MOST_SHOWN]!r} in {tenant}.")
    return owner


def _must_be_whole(key: ApiKey) -> None:
    if key.reaches_all and not key.role:
        raise BadRequest("reaches_all: there is no role that could hold for every tenant; give one.")


def _must_work(key: ApiKey, *, or_be_expired: bool = False) -> None:
    state = state_of(key, timezone.now())
    if state == "revoked" or (state == "expired" and not or_be_expired):
        raise Conflict(f"The key {key.prefix} is {state}; issue a new one.")


def _end_of_another(by: Actor, old: ApiKey, now: datetime) -> datetime | None:
    """When what takes its place ends: after as long a life, though not after whoever makes it."""
    if old.expires_at is None:
        return None
    ends = now + (old.expires_at - old.created_at)
    if by.caller is None or by.caller.expires_at is None:
        return ends
    return min(ends, datetime.fromtimestamp(by.caller.expires_at, UTC))


def _must_be_within(by: Actor, key: ApiKey) -> None:
    """Raises Forbidden when `key` may do anything that `by` may not, or `by` only within bounds that it has not."""
    roles = {None if key.reaches_all else key.tenant_id: Role(key.role)} if key.role else {}
    for permission in Permission:
        if not by.reach(permission).covers(reach_of(roles, permission)):
            raise Forbidden(f"Nobody gives more than they have: role {key.role} may {permission}, and you may not.")
    mine = by.caller
    if mine is None:
        return
    networks = tuple(ip_network(network) for network in key.networks)
    beyond = {
        "model_patterns": _goes_beyond(mine.model_patterns, key.model_patterns, _covers_pattern),
        "dialects": _goes_beyond(mine.dialects, key.dialects, str.__eq__),
        "families": _goes_beyond(mine.families, key.families, str.__eq__),
        "networks": _goes_beyond(mine.networks, networks, _covers_network),
        "expires_at": mine.expires_at is not None
        and (key.expires_at is None or key.expires_at.timestamp() > mine.expires_at),
    }
    for field, is_beyond in beyond.items():
        if is_beyond:
            raise Forbidden(f"Nobody gives more than they have: {field} must be within that of the key you ask with.")


def _goes_beyond(mine: Iterable[Any], theirs: Iterable[Any], covers: Callable[[Any, Any], bool]) -> bool:
    """Whether any of theirs is in none of mine. None at all means everything."""
    mine, theirs = list(mine), list(theirs)
    return bool(mine) and (not theirs or not all(any(covers(one, other) for one in mine) for other in theirs))


def _covers_pattern(mine: str, theirs: str) -> bool:
    """Whether every name that theirs is about, mine is about too; not seen in every case where it is so.

    Their * and ? are taken as characters of a name: a * of mine takes any of them, a ? of mine no *.
    """
    if any(bracket in pattern for bracket in "[]" for pattern in (mine, theirs)):
        return mine == theirs
    return fnmatchcase(theirs, mine.replace("?", "[!*]"))


def _covers_network(mine: IPv4Network | IPv6Network, theirs: IPv4Network | IPv6Network) -> bool:
    return mine.version == theirs.version and theirs.subnet_of(mine)  # type: ignore[arg-type]  # of one version


def _told(key: ApiKey) -> dict[str, Any]:
    """What the audit keeps of a key."""
    told = {field: getattr(key, field) for field in ("name", *SCOPES)}
    return told | {
        "team": key.team.name if key.team else None,
        "owner": key.owner.get_username() if key.owner else None,
        "expires_at": key.expires_at and key.expires_at.isoformat(),
    }


def _note(by: Actor, action: str, key: ApiKey, details: dict[str, Any]) -> None:
    by.note(action, f"key {key.prefix} ({key.name})", key.tenant_id, details)
