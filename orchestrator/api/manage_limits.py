"""/api/admin/v1/limits: how much may be asked. Each needs `see keys` or `change keys`."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from orchestrator.api.calls import show_admin_key
from orchestrator.api.managing import After, Limit, Named, OfTenant, acted, listed, told
from orchestrator.identity import limiting, shown
from orchestrator.identity.asked import LimitAsked, LimitChange

router = Router(tags=["Management"], auth=show_admin_key)


@router.get("", summary="Limits")
async def limits(
    request: HttpRequest, tenant: OfTenant = None, after: After = None, limit: Limit = 100
) -> HttpResponseBase:
    """Limits, by name. Those of all tenants are seen by who manages all of them."""
    return await listed(
        request,
        "limits",
        shown.limit,
        lambda row: row.name,
        limit,
        lambda by: limiting.limits(by, tenant=tenant, after=after),
    )


@router.post("", summary="Make a limit")
async def make(request: HttpRequest, limit: LimitAsked) -> HttpResponseBase:
    """Set a limit. It is about requests that match every field that is set."""
    return told(await acted(request, lambda by: shown.limit(limiting.make(by, limit))))


@router.get("/{name}", summary="One limit")
async def one(request: HttpRequest, name: Named) -> HttpResponseBase:
    """A limit, as it was set."""
    return told(await acted(request, lambda by: shown.limit(limiting.find(by, name))))


@router.patch("/{name}", summary="Change a limit")
async def change(request: HttpRequest, name: Named, limit: LimitChange) -> HttpResponseBase:
    """Make it be otherwise in what is given, or switch it off or on."""
    return told(await acted(request, lambda by: shown.limit(limiting.change(by, name, limit))))


@router.delete("/{name}", summary="Delete a limit")
async def delete(request: HttpRequest, name: Named) -> HttpResponseBase:
    """Take it away."""
    await acted(request, limiting.delete, name)
    return told({"deleted": True})
