"""Keys for tests and drills, which need no leave."""

from __future__ import annotations

from typing import Any

from orchestrator.core.permissions import Role
from orchestrator.identity.keys import make_key
from orchestrator.models import Tenant


def issue_key(name: str, tenant: str, *, role: Role | None = None, **scopes: Any) -> str:
    """Make a key and return it, with nothing checked and nobody told. The tenant is made if it is new."""
    owner, _ = Tenant.objects.get_or_create(name=tenant)
    return make_key(owner, name, role=role or "", **scopes)[1]
