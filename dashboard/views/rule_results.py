"""How splits and shadows did, and what the router learned."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from dashboard.access import page_now, reach
from dashboard.rules.results import DAYS, USUAL, results
from orchestrator.core.numbers import whole


@require_safe
def rule_results(request: HttpRequest) -> HttpResponse:
    """Of the last days: as many as usual, unless said otherwise."""
    asked = whole(request.GET.get("days", ""))
    days = asked if asked in DAYS else USUAL
    found = results(reach(request), days, timezone.now())
    context = {"here": "rules", "found": found, "days": days, "lengths": DAYS}
    return page_now(request, "dashboard/rules_results.html", context)
