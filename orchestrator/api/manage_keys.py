"""/api/admin/v1/keys: who may ask, and what. Each needs `see keys` or `change keys`, for the tenant it is about."""

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest, HttpResponseBase
from ninja import Query, Router

from orchestrator.api.calls import show_admin_key
from orchestrator.api.managing import LONGEST_NAME, After, Limit, Named, OfTenant, acted, listed, told
from orchestrator.identity import issuing, shown
from orchestrator.identity.acting import Actor
from orchestrator.identity.asked import KeyAsked, KeyChange, Rotation
from orchestrator.identity.issuing import State

router = Router(tags=["Management"], auth=show_admin_key)


@router.get("", summary="Keys")
async def keys(
    request: HttpRequest,
    tenant: OfTenant = None,
    team: Annotated[str | None, Query(None, max_length=LONGEST_NAME, description="Only those of teams of it.")] = None,
    state: Annotated[State | None, Query(None, description="Only those that are so.")] = None,
    after: After = None,
    limit: Limit = 100,
) -> HttpResponseBase:
    """Keys, newest first, without what they open with."""
    return await listed(
        request,
        "keys",
        shown.key,
        lambda row: row.prefix,
        limit,
        lambda by: issuing.keys(by, tenant=tenant, team=team, state=state, after=after),
    )


@router.post("", summary="Issue a key")
async def issue(request: HttpRequest, key: KeyAsked) -> HttpResponseBase:
    """Make a key. Its `key` is told here and never again. Nobody gives one more than they have."""

    def act(by: Actor) -> dict[str, object]:
        row, credential = issuing.issue(by, key)
        return {"key": credential, **shown.key(row)}

    return told(await acted(request, act))


@router.get("/{prefix}", summary="One key")
async def one(request: HttpRequest, prefix: Named) -> HttpResponseBase:
    """A key, without what it opens with."""
    return told(await acted(request, lambda by: shown.key(issuing.find(by, prefix))))


@router.patch("/{prefix}", summary="Change a key")
async def change(request: HttpRequest, prefix: Named, key: KeyChange) -> HttpResponseBase:
    """Make it be otherwise in what is given. It holds from the next request on."""
    return told(await acted(request, lambda by: shown.key(issuing.change(by, prefix, key))))


@router.post("/{prefix}/rotate", summary="Rotate a key")
async def rotate(request: HttpRequest, prefix: Named, rotation: Rotation) -> HttpResponseBase:
    """Make a key that may do the same. Its `key` is told here and never again; the old one works on for the overlap."""

    def act(by: Actor) -> dict[str, object]:
        row, credential = issuing.rotate(by, prefix, rotation)
        return {"key": credential, **shown.key(row)}

    return told(await acted(request, act))


@router.delete("/{prefix}", summary="Revoke a key")
async def revoke(request: HttpRequest, prefix: Named) -> HttpResponseBase:
    """It stops working at once and for good. Its row stays: records point to it. Again it does nothing."""
    return told(await acted(request, lambda by: shown.key(issuing.revoke(by, prefix))))
