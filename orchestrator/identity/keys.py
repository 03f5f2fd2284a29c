"""API keys: made and shown once, kept as keyed hashes, found by the part that may be shown."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, cast

from django.db.models import Q
from django.utils import timezone

from orchestrator.core.budgets import Budget
from orchestrator.core.limits import Each, Kind, Limit
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.core.types import Caller
from orchestrator.identity.digests import is_digest_of, key_digest, renew_digest
from orchestrator.models import ApiKey, Tenant
from orchestrator.models import Budget as BudgetRow
from orchestrator.models import Limit as LimitRow

DEFAULT_TENANT = "default"
NO_DIGEST = "0" * 64
OURS = "orch_"  # how a key begins
KEY = re.compile(OURS + r"(?P<prefix>[a-z0-9]{10})_[A-Za-z0-9_-]{43}")


def find_key(credential: str) -> Caller | None:
    """The caller a key stands for; None when it is unknown, expired or revoked.

    Whether it is, takes one query and one comparison in either case.
    """
    match = KEY.fullmatch(credential)
    if match is None:
        return None
    key = ApiKey.objects.of(EVERYBODY).select_related("tenant", "team").filter(prefix=match["prefix"]).first()
    is_right = is_digest_of(credential, key.digest if key else NO_DIGEST)
    if key is None or not is_right or not _holds(key):
        return None
    renew_digest(key, credential)
    grants = key.tenant.grants_received.values_list("owner_id", "owner__name")
    return replace(
        _scoped(key),
        limits=limits_for(key.tenant, key),
        budgets=budgets_for(key.tenant, key),
        reads_from=tuple(grants),
    )


def now_of(key_ids: Collection[int | None]) -> dict[int | None, Caller]:
    """As `Identity.now_of`, by one query."""
    keys = (
        ApiKey.objects.of(EVERYBODY)
        .select_related("tenant", "team")
        .filter(pk__in=[number for number in key_ids if number is not None])
    )
    found: dict[int | None, Caller] = {key.pk: _scoped(key) for key in keys if _holds(key)}
    if None in key_ids and not (tenant := ensure_default_tenant()).suspended_at:
        found[None] = Caller(tenant_id=tenant.pk, tenant=tenant.name)
    return found


def _holds(key: ApiKey) -> bool:
    is_over = key.revoked_at or (key.expires_at and key.expires_at <= timezone.now())
    return not is_over and not key.tenant.suspended_at


def _scoped(key: ApiKey) -> Caller:
    """The caller, without what other tables say."""
    return Caller(
        tenant_id=key.tenant.pk,
        tenant=key.tenant.name,
        key_id=key.pk,
        key_name=key.name,
        key_prefix=key.prefix,
        first_key_id=key.first_id,
        team_id=key.team_id,
        team=key.team.name if key.team else "",
        expires_at=key.expires_at.timestamp() if key.expires_at else None,
        priority=key.tenant.priority,
        role=Role(key.role) if key.role else None,
        reaches_all=key.reaches_all,
        model_patterns=tuple(key.model_patterns),
        dialects=frozenset(key.dialects),
        families=frozenset(key.families),
        networks=tuple(ip_network(network) for network in key.networks),
        tags=tuple(key.tags),
    )


def limits_for(tenant: Tenant, key: ApiKey | None) -> tuple[Limit, ...]:
    """Every limit that may be about a caller of `tenant` with `key`; the oldest first."""
    rows = LimitRow.objects.filter(_about(tenant, key), is_off=False).order_by("pk")
    return tuple(map(limit_of, rows))


def limit_of(row: LimitRow) -> Limit:
    """What a row says."""
    return Limit(
        id=row.pk,
        name=row.name,
        kind=cast(Kind, row.kind),
        each=cast(Each, row.each),
        amount=row.amount,
        per_s=row.per_s or 0,
        burst=row.burst or 0,
        model=row.model,
        network=ip_network(row.network) if row.network else None,
    )


def budgets_for(tenant: Tenant, key: ApiKey | None) -> tuple[Budget, ...]:
    """Every budget that may be about a caller of `tenant` with `key`; the oldest first."""
    rows = BudgetRow.objects.filter(_about(tenant, key), is_off=False).order_by("pk")
    return tuple(row.rule for row in rows)


def _about(tenant: Tenant, key: ApiKey | None) -> Q:
    """Which limits and budgets may be about a caller of `tenant` with `key`."""
    about = Q(tenant=None) | Q(tenant=tenant)
    if key is None:
        return about & Q(key=None, team=None) & ~Q(each__in=("key", "team"))
    # What is set for a key holds for those before and after it too, as long as they work.
    first = key.first_id or key.pk
    about &= Q(key=None) | Q(key=first) | Q(key__first_id=first)
    about &= Q(team=None) | Q(team=key.team_id)
    return about if key.team_id else about & Q(team=None) & ~Q(each="team")


def default_caller(_: str = "") -> Caller | None:
    """Whoever shows no key; None while their tenant is suspended."""
    return keyless(ensure_default_tenant())


def keyless(tenant: Tenant) -> Caller | None:
    """Whoever asks for a tenant without a key, as people do from pages; None while it is suspended."""
    if tenant.suspended_at:
        return None
    return Caller(
        tenant_id=tenant.pk,
        tenant=tenant.name,
        priority=tenant.priority,
        limits=limits_for(tenant, None),
        budgets=budgets_for(tenant, None),
        reads_from=tuple(tenant.grants_received.values_list("owner_id", "owner__name")),
    )


def ensure_default_tenant() -> Tenant:
    """The tenant of callers without a key, made on first use."""
    return Tenant.objects.get_or_create(name=DEFAULT_TENANT)[0]


def make_key(tenant: Tenant, name: str, **scopes: Any) -> tuple[ApiKey, str]:
    """A new key and its credential, which cannot be had again. Who may have it was settled before."""
    prefix = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(10))
    credential = f"orch_{prefix}_{secrets.token_urlsafe(32)}"
    key = ApiKey.objects.create(tenant=tenant, name=name, prefix=prefix, digest=key_digest(credential), **scopes)
    return key, credential
