"""Keys, tenants, people, teams, grants, limits and events as API and commands show them. No secret is in any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils import timezone

from orchestrator.core.permissions import Role
from orchestrator.identity import limiting
from orchestrator.identity.issuing import state_of
from orchestrator.models import ApiKey, AuditEvent, Grant, Limit, Team, Tenant

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def key(row: ApiKey) -> dict[str, Any]:
    """A key."""
    return {
        "prefix": row.prefix,
        "name": row.name,
        "tenant": row.tenant.name,
        "team": row.team.name if row.team else None,
        "owner": row.owner.get_username() if row.owner else None,
        "role": row.role or None,
        "reaches_all": row.reaches_all,
        "model_patterns": row.model_patterns,
        "dialects": row.dialects,
        "families": row.families,
        "networks": row.networks,
        "tags": row.tags,
        "state": state_of(row, timezone.now()),
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
        "last_used_at": row.last_used_at,
        "replaces": row.replaces.prefix if row.replaces else None,
    }


def tenant(row: Tenant) -> dict[str, Any]:
    """A tenant."""
    return {
        "name": row.name,
        "priority": row.priority,
        "suspended_at": row.suspended_at,
        "created_at": row.created_at,
    }


def person(row: User) -> dict[str, Any]:
    """Somebody, with those of their roles that were read with them."""
    held = {one.tenant.name if one.tenant else None: one.role for one in row.roles_here}  # type: ignore[attr-defined]
    if row.is_superuser and row.all_shown:  # type: ignore[attr-defined]
        held[None] = Role.ADMIN.value  # the flag outdoes the row
    second = getattr(row, "second_factor", None)
    return {
        "name": row.get_username(),
        "roles": [{"tenant": tenant, "role": role} for tenant, role in held.items()],
        "has_second_factor": bool(second and second.sealed),
        "created_at": row.date_joined,
        "last_sign_in_at": row.last_login,
    }


def team(row: Team) -> dict[str, Any]:
    """A team."""
    return {"tenant": row.tenant.name, "name": row.name, "created_at": row.created_at}


def grant(row: Grant) -> dict[str, Any]:
    """A grant."""
    return {"owner": row.owner.name, "reader": row.reader.name, "created_at": row.created_at}


def limit(row: Limit) -> dict[str, Any]:
    """A limit."""
    return limiting.told(row)


def event(row: AuditEvent) -> dict[str, Any]:
    """An event."""
    return {
        "number": row.pk,
        "at": row.at,
        "actor": row.actor,
        "action": row.action,
        "subject": row.subject,
        "tenant": row.tenant.name if row.tenant else None,
        "details": row.details,
        "request_id": row.request_id,
    }
