"""/metrics, for Prometheus."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from ninja import Router

from orchestrator import vitals
from orchestrator.wiring import parts

router = Router(tags=["Status"])


@router.get("/metrics", summary="Metrics")
async def metrics(request: HttpRequest) -> HttpResponseBase:
    """Every figure of every worker, as Prometheus' text or OpenMetrics, whichever `Accept` prefers."""
    body, content_type = await vitals.page(parts(), settings.RUN_DIR, request.headers.get("Accept", ""))
    return HttpResponse(body, content_type=content_type)
