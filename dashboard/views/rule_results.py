"""How splits and shadows did, and what the router learned."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from dashboard.access import page_now, reach, roles
from dashboard.rules.results import DAYS, USUAL, results
from orchestrator.core.numbers import whole
from orchestrator.core.permissions import EVERYBODY, Permission, reach_of


@require_safe
def rule_results(request: HttpRequest) -> HttpResponse:
    """Of the last days: as many as usual, unless said otherwise."""
    asked = whole(request.GET.get("days", ""))
    days = asked if asked in DAYS else USUAL
    sees_rules = reach_of(roles(request), Permission.SEE_RULES) == EVERYBODY
    found = results(reach(request), days, timezone.now(), with_learned=sees_rules)
    context = {"here": "rules", "found": found, "days": days, "lengths": DAYS}
    return page_now(request, "dashboard/rules_results.html", context)
