"""/api/admin/v1/budgets: how much may be spent, and how it stands. Each needs `see budgets` or `change budgets`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from django.http import HttpRequest, HttpResponseBase
from ninja import Query, Router

from orchestrator.api.managing import LONGEST_NAME, After, Limit, Named, OfTenant, acted, listed, looked, told
from orchestrator.budgeting import alerts, rows, standing
from orchestrator.identity.asked import BudgetAsked, BudgetChange

router = Router(tags=["Management"])


@router.get("", summary="Budgets")
async def budgets(
    request: HttpRequest, tenant: OfTenant = None, after: After = None, limit: Limit = 100
) -> HttpResponseBase:
    """Budgets, by name, each with how it stands where it is used most. Those of all are seen by who manages all."""
    return await listed(
        request,
        "budgets",
        partial(standing.shown, most=1),
        lambda row: row.name,
        limit,
        lambda by: rows.budgets(by, tenant=tenant, after=after),
    )


@router.post("", summary="Make a budget")
async def make(request: HttpRequest, budget: BudgetAsked) -> HttpResponseBase:
    """Set a budget. It is about calls that match every field that is set, also those its period has seen already."""
    before = await looked(request, lambda by: rows.sum_before_made(by, budget))
    return told(await acted(request, lambda by: standing.shown(rows.make(by, budget, before))))


@router.get("/alerts", summary="Alerts of budgets")
async def list_alerts(
    request: HttpRequest,
    budget: Annotated[str | None, Query(None, max_length=LONGEST_NAME, description="Only those of this one.")] = None,
    before: Annotated[int | None, Query(None, ge=1, le=2**63 - 1, description="`next` of the page before.")] = None,
    limit: Limit = 100,
) -> HttpResponseBase:
    """Shares of budgets that were reached, newest first."""
    found = await acted(request, lambda by: alerts.shown(alerts.alerts(by, budget=budget, before=before)[: limit + 1]))
    is_more = len(found) > limit
    return told({"alerts": found[:limit], "next": found[limit - 1]["number"] if is_more else None})


@router.get("/{name}", summary="One budget")
async def one(request: HttpRequest, name: Named) -> HttpResponseBase:
    """A budget, and how it stands for those it counts apart: a hundred at most, the most used first."""
    return told(await acted(request, lambda by: standing.shown(rows.find(by, name))))


@router.patch("/{name}", summary="Change a budget")
async def change(request: HttpRequest, name: Named, budget: BudgetChange) -> HttpResponseBase:
    """Make it be otherwise in what is given, or switch it off or on."""
    before = await looked(request, lambda by: rows.sum_before_changed(by, name, budget))
    return told(await acted(request, lambda by: standing.shown(rows.change(by, name, budget, before))))


@router.delete("/{name}", summary="Delete a budget")
async def delete(request: HttpRequest, name: Named) -> HttpResponseBase:
    """Take it away, with what was counted under it."""
    await acted(request, rows.delete, name)
    return told({"deleted": True})
