"""The first page: is it well, what is it doing, what was just asked."""

from __future__ import annotations

import asyncio
import csv
import logging
from collections.abc import Awaitable
from typing import TypeVar

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.http import require_safe

from dashboard import formats
from dashboard.access import page, reach
from dashboard.board import board
from dashboard.charts import whole_buckets
from dashboard.periods import PERIODS, period
from dashboard.reading import reader
from dashboard.running import look
from dashboard.tiers import NAMES, STACK
from orchestrator.core.errors import OrchestratorError

log = logging.getLogger(__name__)
T = TypeVar("T")


@require_safe
async def overview(request: HttpRequest) -> HttpResponseBase:
    """The overview of a period; any part that cannot be read is unknown, and the rest stands."""
    chosen = period(request.GET.get("period"))
    whose = reach(request)
    seen, snapshot, beside, rows = await asyncio.gather(
        look(whose),
        read(reader.snapshot(chosen, whose)),
        read(reader.beside(chosen, whose)),
        read(reader.rows(whose)),
    )
    context = board(snapshot, seen, beside) | {"period": chosen, "periods": PERIODS, "rows": rows, "here": "overview"}
    return await page(request, "dashboard/overview.html", context)


@require_safe
async def series_csv(request: HttpRequest) -> HttpResponseBase:
    """The numbers behind the overview's charts, one line a step."""
    snapshot = await read(reader.snapshot(period(request.GET.get("period")), reach(request)))
    if snapshot is None:
        return HttpResponse("The ledger did not answer in time; try again.\n", status=503, content_type="text/plain")
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="requests-{snapshot.period.slug}.csv"'
    lines = csv.writer(response)
    lines.writerow(["from", "seconds", "requests", *(NAMES[tier] for tier in STACK), "p50_us", "p95_us"])
    for bucket in whole_buckets(snapshot.figures):
        lines.writerow(
            [
                formats.exact(bucket.start),
                snapshot.figures.bucket_s,
                bucket.requests,
                *(bucket.by_tier.get(tier, 0) for tier in STACK),
                bucket.latency.p50_us,
                bucket.latency.p95_us,
            ]
        )
    return response


async def read(answer: Awaitable[T]) -> T | None:
    """What was read, or None, logged, when the ledger cannot be read."""
    try:
        return await answer
    except (TimeoutError, OrchestratorError, DatabaseError) as error:
        log.warning("a page could not read the ledger: %s", str(error) or type(error).__name__)
        return None
