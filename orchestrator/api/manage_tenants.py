"""/api/admin/v1/tenants, /teams, /grants, /audit: who is served, what one may read of another, and who changed that.

Tenants and grants need `see people` or `change people`, teams `see keys` or `change keys`, the audit `see the audit`.
"""

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest, HttpResponseBase
from ninja import Query, Router

from orchestrator.api.managing import LONGEST_NAME, After, Limit, Named, OfTenant, acted, listed, told
from orchestrator.identity import audited, shown, tenancy
from orchestrator.identity.asked import GrantAsked, TeamAsked, TenantAsked, TenantChange

router = Router(tags=["Management"])


@router.get("/tenants", summary="Tenants")
async def tenants(request: HttpRequest, after: After = None, limit: Limit = 100) -> HttpResponseBase:
    """Tenants, by name."""
    return await listed(
        request, "tenants", shown.tenant, lambda row: row.name, limit, lambda by: tenancy.tenants(by, after=after)
    )


@router.post("/tenants", summary="Make a tenant")
async def make_tenant(request: HttpRequest, tenant: TenantAsked) -> HttpResponseBase:
    """Make a tenant. This takes a role that holds for every one."""
    return told(await acted(request, lambda by: shown.tenant(tenancy.make_tenant(by, tenant))))


@router.patch("/tenants/{name}", summary="Change, suspend or resume a tenant")
async def change_tenant(request: HttpRequest, name: Named, tenant: TenantChange) -> HttpResponseBase:
    """Make it be otherwise in what is given. While it is suspended, none of its keys works."""
    return told(await acted(request, lambda by: shown.tenant(tenancy.change_tenant(by, name, tenant))))


@router.get("/teams", summary="Teams")
async def teams(
    request: HttpRequest, tenant: OfTenant = None, after: After = None, limit: Limit = 100
) -> HttpResponseBase:
    """Teams, by tenant and name."""
    return await listed(
        request, "teams", shown.team, str, limit, lambda by: tenancy.teams(by, tenant=tenant, after=after)
    )


@router.post("/teams", summary="Make a team")
async def make_team(request: HttpRequest, team: TeamAsked) -> HttpResponseBase:
    """Make a team. Keys are put into it one by one."""
    return told(await acted(request, lambda by: shown.team(tenancy.make_team(by, team))))


@router.delete("/teams/{tenant}/{name}", summary="Delete a team")
async def delete_team(request: HttpRequest, tenant: Named, name: Named) -> HttpResponseBase:
    """Take a team away, with its limits. Refused while it has keys or budgets (409)."""
    await acted(request, tenancy.delete_team, tenant, name)
    return told({"deleted": True})


@router.get("/grants", summary="Grants")
async def grants(request: HttpRequest, after: After = None, limit: Limit = 100) -> HttpResponseBase:
    """Which tenant may be answered from which other's cache, by owner and reader."""
    return await listed(
        request,
        "grants",
        shown.grant,
        lambda row: f"{row.owner.name}/{row.reader.name}",
        limit,
        lambda by: tenancy.grants(by, after=after),
    )


@router.post("/grants", summary="Make a grant")
async def make_grant(request: HttpRequest, grant: GrantAsked) -> HttpResponseBase:
    """Let the reader be answered from the owner's cache. This takes a role that holds for both."""
    return told(await acted(request, lambda by: shown.grant(tenancy.make_grant(by, grant))))


@router.delete("/grants/{owner}/{reader}", summary="End a grant")
async def delete_grant(request: HttpRequest, owner: Named, reader: Named) -> HttpResponseBase:
    """End it from the next request on. Either side may."""
    await acted(request, tenancy.delete_grant, owner, reader)
    return told({"deleted": True})


@router.get("/audit", summary="Who changed what")
async def audit(
    request: HttpRequest,
    tenant: OfTenant = None,
    action: Annotated[
        str | None, Query(None, max_length=LONGEST_NAME, description="`key.issued`, or `key` for all of keys.")
    ] = None,
    before: Annotated[int | None, Query(None, ge=1, le=2**63 - 1, description="`next` of the page before.")] = None,
    limit: Limit = 100,
) -> HttpResponseBase:
    """Events, newest first. Whether they are as they were written, `manage.py audit verify` tells."""
    return await listed(
        request,
        "events",
        shown.event,
        lambda row: row.pk,
        limit,
        lambda by: audited.events(by, tenant=tenant, action=action, before=before),
    )
