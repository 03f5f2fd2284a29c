"""API keys: made and shown once, kept as keyed hashes, found by the part that may be shown."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import datetime
from ipaddress import ip_network
from typing import cast

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from orchestrator.core.limits import Each, Kind, Limit
from orchestrator.core.permissions import EVERYBODY, Role
from orchestrator.core.types import Caller
from orchestrator.models import ApiKey, Tenant
from orchestrator.models import Limit as LimitRow

DEFAULT_TENANT = "default"
KEY = re.compile(r"orch_(?P<prefix>[a-z0-9]{10})_[A-Za-z0-9_-]{43}")


def key_digest(credential: str) -> str:
    """The keyed hash a key is kept as, 64 hex digits."""
    return hmac.new(settings.API_KEY_PEPPER, credential.encode(), hashlib.sha256).hexdigest()


def find_key(credential: str) -> Caller | None:
    """The caller a key stands for; None when it is unknown, expired or revoked."""
    match = KEY.fullmatch(credential)
    if match is None:
        return None
    key = ApiKey.objects.of(EVERYBODY).select_related("tenant").filter(prefix=match["prefix"]).first()
    if not hmac.compare_digest(key.digest if key else "", key_digest(credential)):
        return None
    if key is None or key.revoked_at or (key.expires_at and key.expires_at <= timezone.now()):
        return None
    if key.tenant.suspended_at:
        return None
    return Caller(
        tenant_id=key.tenant.pk,
        tenant=key.tenant.name,
        key_id=key.pk,
        key_name=key.name,
        team_id=key.team_id,
        expires_at=key.expires_at.timestamp() if key.expires_at else None,
        priority=key.tenant.priority,
        role=Role(key.role) if key.role else None,
        reaches_all=key.reaches_all,
        model_patterns=tuple(key.model_patterns),
        dialects=frozenset(key.dialects),
        families=frozenset(key.families),
        networks=tuple(ip_network(network) for network in key.networks),
        tags=tuple(key.tags),
        limits=limits_for(key.tenant, key),
        reads_from=tuple(key.tenant.grants_received.values_list("owner_id", "owner__name")),
    )


def limits_for(tenant: Tenant, key: ApiKey | None) -> tuple[Limit, ...]:
    """Every limit that may be about a caller of `tenant` with `key`; the oldest first."""
    about = Q(tenant=None) | Q(tenant=tenant)
    if key is None:
        about &= Q(key=None, team=None) & ~Q(each__in=("key", "team"))
    else:
        about &= (Q(key=None) | Q(key=key)) & (Q(team=None) | Q(team=key.team_id))
        if key.team_id is None:
            about &= Q(team=None) & ~Q(each="team")
    rows = LimitRow.objects.filter(about, is_off=False).order_by("pk")
    return tuple(
        Limit(
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
        for row in rows
    )


def default_caller(_: str = "") -> Caller:
    """Whoever shows no key."""
    tenant = ensure_default_tenant()
    return Caller(
        tenant_id=tenant.pk,
        tenant=tenant.name,
        priority=tenant.priority,
        limits=limits_for(tenant, None),
        reads_from=tuple(tenant.grants_received.values_list("owner_id", "owner__name")),
    )


def ensure_default_tenant() -> Tenant:
    """The tenant of callers without a key, made on first use."""
    return Tenant.objects.get_or_create(name=DEFAULT_TENANT)[0]


def issue_key(
    name: str, tenant: str, *, role: Role | None = None, reaches_all: bool = False, expires_at: datetime | None = None
) -> str:
    """Make a key and return it; it cannot be shown again. The tenant is made if it is new."""
    prefix = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(10))
    credential = f"orch_{prefix}_{secrets.token_urlsafe(32)}"
    ApiKey.objects.create(
        tenant=Tenant.objects.get_or_create(name=tenant)[0],
        name=name,
        prefix=prefix,
        digest=key_digest(credential),
        role=role or "",
        reaches_all=reaches_all,
        expires_at=expires_at,
    )
    return credential
