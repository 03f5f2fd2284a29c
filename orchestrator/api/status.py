"""Is it alive, is it ready, what has it done: `/`, /healthz, /readyz, /api/stats."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.utils import timezone
from ninja import Router

from orchestrator.api.calls import caller_of
from orchestrator.api.replies import json_response
from orchestrator.core.permissions import Reach
from orchestrator.ledger.stats import WITHOUT_A_CALL, Figures, Latency, figures
from orchestrator.wiring import parts

router = Router(tags=["Status"])
STATS_DEADLINE_S = 30.0
PERIODS = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
Period = Literal["15m", "1h", "24h", "7d", "30d"]


@router.api_operation(["GET", "HEAD"], "/", include_in_schema=False)
async def root(request: HttpRequest) -> HttpResponseBase:
    """Tell clients that this is Ollama, and take browsers to the dashboard."""
    if "text/html" in request.headers.get("Accept", ""):
        return HttpResponseRedirect("/dashboard/")
    return HttpResponse("Ollama is running", content_type="text/plain; charset=utf-8")


@router.get("/healthz", summary="Alive")
async def healthz(request: HttpRequest) -> HttpResponseBase:
    """Answer while the process can answer at all."""
    return json_response({"status": "ok"})


@router.get("/readyz", summary="Ready")
async def readyz(request: HttpRequest) -> HttpResponseBase:
    """Name each thing it depends on. 503 only when no question could be answered."""
    health = await parts().health()
    states = {one.name: one.state for one in health}
    is_ready = all(one.state != "down" for one in health if one.is_vital)
    return json_response({"ready": is_ready, "parts": states}, status=200 if is_ready else 503)


@router.get("/api/stats", summary="What it has done")
async def stats(request: HttpRequest, period: Period = "1h") -> HttpResponseBase:
    """Requests, hit rate by tier, times and tokens over the last while, for the caller's tenant."""
    until = timezone.now()
    own = Reach(frozenset({caller_of(request).tenant_id}))
    sums = await parts().reads.run(STATS_DEADLINE_S, figures, until - PERIODS[period], until, own)
    return json_response(_figures(sums))


def _figures(sums: Figures) -> dict[str, Any]:
    """What the records add up to: shares from 0 to 1, times in milliseconds, null where nothing is known."""
    return {
        "since": sums.since,
        "until": sums.until,
        "requests": sums.requests,
        "errors": sums.errors,
        "refused": sums.refused,
        "hit_rate": sums.hit_rate,
        "hit_rate_by_tier": {
            tier.value: sums.by_tier[tier] / sums.cacheable if sums.cacheable else None for tier in WITHOUT_A_CALL
        },
        "tokens": {"prompt": sums.prompt_tokens, "completion": sums.completion_tokens},
        "saved": {"microusd": sum(sums.saved.values()), "unknown": sums.saved_unknown, "by_tier": sums.saved},
        "total_ms": _milliseconds(sums.latency),
        "first_ms": _milliseconds(sums.first),
        "by_tier": {
            tier or "none": {"requests": count, "total_ms": _milliseconds(sums.latency_by_tier[tier])}
            for tier, count in sums.by_tier.items()
        },
        "by_model": [
            {
                "model": one.model,
                "requests": one.requests,
                "errors": one.errors,
                "tokens": {"prompt": one.prompt_tokens, "completion": one.completion_tokens},
                "total_ms": _milliseconds(one.latency),
            }
            for one in sums.by_model
        ],
        "behind_s": sums.behind_s,
        "bucket_s": sums.bucket_s,
        "buckets": [
            {
                "start": step.start,
                "requests": step.requests,
                "by_tier": {t or "none": n for t, n in step.by_tier.items()},
            }
            for step in sums.buckets
        ],
    }


def _milliseconds(latency: Latency) -> dict[str, float | None]:
    values = {"p50": latency.p50_us, "p95": latency.p95_us, "p99": latency.p99_us}
    return {name: None if value is None else value / 1000 for name, value in values.items()}
