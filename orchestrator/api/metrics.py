"""/metrics, for Prometheus."""

from __future__ import annotations

import hmac

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from ninja import Router

from orchestrator import vitals
from orchestrator.api.calls import header, show_key
from orchestrator.core.errors import Forbidden, Unauthorized
from orchestrator.core.permissions import EVERYBODY, Permission
from orchestrator.wiring import parts

router = Router(tags=["Status"])


async def show_token(request: HttpRequest) -> bool:
    """Let in who shows the token, or a key that may see every tenant's usage; anyone, where neither is asked for.

    The figures are of all tenants together, so a tenant's own key does not open them. Raises Unauthorized or Forbidden.
    """
    scheme, _, shown = header(request, "Authorization").partition(" ")
    token: str = settings.METRICS_TOKEN
    if token and scheme.lower() == "bearer" and hmac.compare_digest(shown.strip().encode(), token.encode()):
        return True
    caller = await show_key(request)
    if caller.key_id is None:
        if token:
            raise Unauthorized("This needs ORCHESTRATOR_METRICS_TOKEN or an API key, as `Authorization: Bearer …`.")
        return True
    if caller.reach(Permission.SEE_USAGE) != EVERYBODY:
        raise Forbidden("These figures are of all tenants: use a key whose role is for every tenant, or the token.")
    return True


@router.get("/metrics", auth=show_token, summary="Metrics")
async def metrics(request: HttpRequest) -> HttpResponseBase:
    """Every figure of every worker, as Prometheus' text or OpenMetrics, whichever `Accept` prefers."""
    body, content_type = await vitals.page(parts(), settings.RUN_DIR, request.headers.get("Accept", ""))
    return HttpResponse(body, content_type=content_type)
