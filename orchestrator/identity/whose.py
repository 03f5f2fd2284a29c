"""Whose a limit or a budget is: of a tenant, of a team or a key of it, or of nobody and so about everybody."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from orchestrator.core.errors import BadRequest
from orchestrator.core.permissions import Permission
from orchestrator.identity.acting import Actor
from orchestrator.models import ApiKey, Team, Tenant


class Whose(NamedTuple):
    """As far as it is said."""

    tenant: Tenant | None = None
    team: Team | None = None
    key: ApiKey | None = None


class Named(Protocol):
    """The same by names, as it is asked for."""

    tenant: str | None
    team: str | None
    key: str | None


def find_whose(by: Actor, asked: Named, permission: Permission) -> Whose:
    """The rows of those names. Raises NotThere, BadRequest."""
    tenant = None if asked.tenant is None else by.tenant(asked.tenant, permission)
    team = key = None
    if asked.key is not None:
        key = ApiKey.objects.of(by.must(permission)).filter(prefix=asked.key).select_related("tenant").first()
        if key is None:
            raise BadRequest(f"key: there is none with the prefix {asked.key!r}.")
        if tenant not in (None, key.tenant):
            raise BadRequest(f"key: {asked.key} is of another tenant than {tenant}.")
        tenant = key.tenant
    if asked.team is not None:
        if tenant is None:
            raise BadRequest("team: say of which tenant.")
        team = tenant.teams.filter(name=asked.team).first()
        if team is None:
            raise BadRequest(f"team: there is none called {asked.team!r} in {tenant}.")
    return Whose(tenant, team, key)


def counted_apart(whose: Whose, each: tuple[str, ...]) -> list[str]:
    """Which of `each` can be told apart among those."""
    within = {"team", "tenant"} if whose.key else {"tenant"} if whose.team else set()
    return [one for one in each if one not in within]
