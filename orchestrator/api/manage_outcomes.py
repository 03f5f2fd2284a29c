"""/api/admin/v1/routing/results and /learned: how splits and shadows did, and what the router learned."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import timedelta
from math import isfinite
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from ninja import Query, Router

from orchestrator.api.managing import acted, told
from orchestrator.audit import note
from orchestrator.core.permissions import Permission, Reach
from orchestrator.identity.acting import Actor
from orchestrator.outcomes import judges, learning, splits
from orchestrator.outcomes.splits import Beside, Side
from routing.intervals import Interval

router = Router(tags=["Management"])
Days = Annotated[int, Query(30, ge=1, le=366, description="Of the last so many days.")]


@router.get("/results", summary="How splits and shadows did")
async def results(request: HttpRequest, days: Days = 30) -> HttpResponseBase:
    """The sides of each split, and each shadow beside whoever answered, with 95 % intervals. It needs `see usage`."""
    since = timezone.now() - timedelta(days=days)

    def find(by: Actor) -> dict[str, Any]:
        reach: Reach = by.must(Permission.SEE_USAGE)
        sides = splits.sides(reach, since)
        return {
            "splits": [{"rule": rule, "sides": [_shown(one) for one in some]} for rule, some in sides.items()],
            "shadows": [_shown(one) for one in splits.shadows(reach, since)],
            "unread_grades": [asdict(one) for one in judges.unread_grades(reach, since.date())],
        }

    return told(await acted(request, find))


@router.get("/learned", summary="What the router learned")
async def learned(request: HttpRequest) -> HttpResponseBase:
    """Of which models, and from how much. It needs `see rules`."""

    def find(by: Actor) -> dict[str, Any]:
        by.must(Permission.SEE_RULES)
        return learning.learned()

    return told(await acted(request, find))


@router.delete("/learned", summary="Forget what the router learned")
async def forget(request: HttpRequest) -> HttpResponseBase:
    """Have it begin anew from what is known of models before they are seen. It needs `change rules`."""

    def act(by: Actor) -> dict[str, Any]:
        by.must(Permission.CHANGE_RULES)
        version = learning.forget()
        note(by.name, "router.forgotten", f"snapshot {version}", None, {}, by.request_id)
        return learning.learned()

    return told(await acted(request, act))


def _shown(one: Side | Beside) -> dict[str, Any]:
    """As JSON can hold it."""
    told = {field.name: getattr(one, field.name) for field in fields(one)}
    return {name: _interval(value) if isinstance(value, Interval) else value for name, value in told.items()}


def _interval(value: Interval) -> dict[str, Any]:
    """An end that may be anywhere is null."""
    return {name: one if isfinite(one) else None for name, one in asdict(value).items()}
