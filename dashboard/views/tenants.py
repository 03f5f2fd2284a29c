"""Tenants: one of them, with its teams, limits and budgets; making, suspending and resuming them."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from dashboard.access import page, reach
from dashboard.acting import acted, faults_of
from dashboard.keys.allowance import limit_rows
from dashboard.keys.one import read_tenant
from dashboard.reading import reader
from dashboard.unread import said_when_unread
from dashboard.views.keys import board, reach_for
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.permissions import EVERYBODY, Permission
from orchestrator.identity import tenancy
from orchestrator.identity.asked import TeamAsked, TenantAsked, TenantChange
from orchestrator.identity.asked import read as read_asked
from orchestrator.models import Tenant

SUSPEND, RESUME = "suspend", "resume"


@require_safe
@said_when_unread
async def tenant(request: HttpRequest, number: int) -> HttpResponseBase:
    """One of them."""
    return await _one(request, number)


@require_POST
@said_when_unread
async def make(request: HttpRequest) -> HttpResponseBase:
    """Make a tenant."""
    name = request.POST.get("name", "")
    try:
        made = await acted(request, lambda by: tenancy.make_tenant(by, read_asked(TenantAsked, {"name": name})))
    except OrchestratorError as error:
        faults = {"tenant": " ".join(faults_of(error, ("name",)).values())}
        return await board(request, {"faults": faults, "typed": {"tenant": name}}, 422)
    messages.success(request, f"Tenant {made.name} is made. It has no key yet.")
    return redirect("dashboard:tenant", made.pk)


@require_POST
@said_when_unread
async def team(request: HttpRequest, number: int) -> HttpResponseBase:
    """Make a team of a tenant."""
    one, name = await _named(request, number), request.POST.get("team", "")
    try:
        made = await acted(
            request, lambda by: tenancy.make_team(by, read_asked(TeamAsked, {"tenant": one.name, "name": name}))
        )
    except OrchestratorError as error:
        faults = {"team": " ".join(faults_of(error, ("name",)).values())}
        return await _one(request, number, {"faults": faults, "typed": {"team": name}}, 422)
    messages.success(request, f"Team {made.name} is made. Keys are put into it as they are issued.")
    return redirect("dashboard:tenant", number)


@require_POST
@said_when_unread
async def switch(request: HttpRequest, number: int) -> HttpResponseBase:
    """Suspend a tenant, or resume it. Each takes back the other."""
    one, is_suspended = await _named(request, number), request.POST.get("to") == SUSPEND
    try:
        change = read_asked(TenantChange, {"suspended": is_suspended})
        await acted(request, lambda by: tenancy.change_tenant(by, one.name, change))
    except OrchestratorError as error:
        return await _one(request, number, {"faults": faults_of(error, ())}, 422)
    said = f"{one.name} is suspended. None of its keys works; answers under way end within 2 s."
    messages.success(request, said if is_suspended else f"{one.name} is served again.")
    return redirect("dashboard:tenant", number)


async def _named(request: HttpRequest, number: int) -> Tenant:
    """The row of a tenant in the viewer's reach."""
    found = await Tenant.objects.filter(pk=number).afirst()
    if found is None or found.pk not in reach(request):  # type: ignore[comparison-overlap]
        raise Http404
    return found


async def _one(
    request: HttpRequest, number: int, more: dict[str, Any] | None = None, status: int = 200
) -> HttpResponseBase:
    whose, now = reach_for(request, Permission.SEE_KEYS), timezone.now()
    budgets, audit = (reach_for(request, one) for one in (Permission.SEE_BUDGETS, Permission.SEE_AUDIT))
    found = await reader.run(lambda: read_tenant(number, whose, budgets, audit, now))
    if found is None:
        raise Http404
    context = {
        "here": "keys",
        "found": found,
        "tenant": found.tenant,
        "limits": await limit_rows(found.limits, number),
        "may_change": number in reach_for(request, Permission.CHANGE_KEYS),  # type: ignore[comparison-overlap]
        "may_switch": reach_for(request, Permission.CHANGE_PEOPLE) == EVERYBODY,
    }
    return await page(request, "dashboard/tenant.html", context | (more or {}), status)
