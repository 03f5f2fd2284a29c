"""/api/admin/v1/people: who may see the pages, and with which roles. Each needs `see people` or `change people`.

Whom a key may not see is not there for it. What it may not do with those it sees is 403, in words.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from ninja import Router

from orchestrator.api.managing import After, Limit, Named, OfTenant, acted, listed, told
from orchestrator.core.permissions import Permission
from orchestrator.identity import shown, staffing
from orchestrator.identity.acting import Actor
from orchestrator.identity.asked import PersonAsked, RoleAsked

router = Router(tags=["Management"])


@router.get("", summary="People")
async def people(
    request: HttpRequest, tenant: OfTenant = None, after: After = None, limit: Limit = 100
) -> HttpResponseBase:
    """People, by name, with those of their roles that the key may see."""
    return await listed(
        request,
        "people",
        shown.person,
        lambda row: row.get_username(),
        limit,
        lambda by: staffing.listed(by, tenant=tenant, after=after),
    )


@router.post("", summary="Let somebody in")
async def invite(request: HttpRequest, person: PersonAsked) -> HttpResponseBase:
    """Let somebody in who is not there yet. The `link` that signs them in once is told here and never again."""

    def act(by: Actor) -> dict[str, object]:
        user, token = staffing.invite(by, person.name, person.role, _tenant_id(by, person.tenant))
        return {"link": _path(token), **shown.person(staffing.anew(by, user))}

    return told(await acted(request, act))


@router.get("/{name}", summary="One person")
async def one(request: HttpRequest, name: Named) -> HttpResponseBase:
    """Somebody, with those of their roles that the key may see."""
    return told(await acted(request, lambda by: shown.person(staffing.called(by, name))))


@router.put("/{name}/role", summary="Give, change or take a role")
async def role(request: HttpRequest, name: Named, role: RoleAsked) -> HttpResponseBase:
    """Make it their role in that tenant, in place of another there. Nobody changes their own.

    A role that reaches further than before signs them out everywhere and makes open links void: `signed_out`.
    """

    def act(by: Actor) -> dict[str, object]:
        user = staffing.called(by, name, Permission.CHANGE_PEOPLE)
        tenant_id = _tenant_id(by, role.tenant)
        is_signed_out = False
        if role.role is None:
            staffing.take_role(by, user, tenant_id)
        else:
            is_signed_out = staffing.give_role(by, user, role.role, tenant_id)
        return {"signed_out": is_signed_out, **shown.person(staffing.anew(by, user))}

    return told(await acted(request, act))


@router.post("/{name}/link", summary="Make a link")
async def link(request: HttpRequest, name: Named) -> HttpResponseBase:
    """Another link that signs somebody in once, within three days; those before it are void. It is told once."""

    def act(by: Actor) -> dict[str, object]:
        return {"link": _path(staffing.fresh_link(by, staffing.called(by, name, Permission.CHANGE_PEOPLE)))}

    return told(await acted(request, act))


@router.delete("/{name}/two-factor", summary="Switch two-factor off")
async def two_factor_off(request: HttpRequest, name: Named) -> HttpResponseBase:
    """For somebody who lost their authenticator. Their sessions that were opened with it end."""

    def act(by: Actor) -> dict[str, object]:
        user = staffing.called(by, name, Permission.CHANGE_PEOPLE)
        staffing.forget_second_factor(by, user)
        return shown.person(staffing.anew(by, user))

    return told(await acted(request, act))


@router.delete("/{name}", summary="Remove somebody")
async def remove(request: HttpRequest, name: Named) -> HttpResponseBase:
    """They are signed out everywhere, and have no role, password, second factor or link any more."""
    await acted(request, lambda by: staffing.remove(by, staffing.called(by, name, Permission.CHANGE_PEOPLE)))
    return told({"deleted": True})


def _tenant_id(by: Actor, name: str | None) -> int | None:
    """Raises NotThere, also where there is one that `by` has no say in."""
    return None if name is None else by.tenant(name, Permission.CHANGE_PEOPLE).pk


def _path(token: str) -> str:
    return reverse("dashboard:sign-in-link", args=[token])
