"""/api/admin/v1/costs: what was spent and saved, as JSON and as CSV. Each needs `see usage`, and tells of no more."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils import timezone
from ninja import Query, Router

from orchestrator.api.managing import Limit, acted, told
from orchestrator.api.replies import PartsResponse
from orchestrator.core.errors import BadRequest
from orchestrator.core.permissions import Permission, Reach
from orchestrator.identity.acting import Actor
from orchestrator.ledger import costs, spreadsheet
from orchestrator.ledger.costs import COLUMNS, MOST_DAYS, By, Groups, Span, Sums

router = Router(tags=["Management"])
USUAL_DAYS = 30
CSV = "text/csv; charset=utf-8"
What = Annotated[By, Query("day", description="What the sums are of. By tag or purpose: of single charges, as kept.")]
From = Annotated[date | None, Query(None, alias="from", description="The first day, in UTC. Unset: 30 days in all.")]
To = Annotated[date | None, Query(None, description="The last day. Unset: today.")]


@router.get("/costs", summary="Costs")
async def costs_by(
    request: HttpRequest, by: What = "day", from_: From = None, to: To = None, limit: Limit = 100
) -> HttpResponseBase:
    """Sums of some days: those groups that cost most, and all together.

    Money is in whole millionths of a dollar, and in dollars as text. A call with three tags counts under each of them.
    """
    span = _span(from_, to)

    def read(actor: Actor) -> tuple[Groups, Sums]:
        reach = _reach(actor)
        return costs.grouped(by, span, reach, limit), costs.total_of(span, reach)

    groups, total = await acted(request, read)
    return told(
        {
            "by": by,
            "from": span.first.isoformat(),
            "to": (span.until - timedelta(days=1)).isoformat(),
            "total": _shown(total),
            "groups": [{"name": one.name, "id": one.id, **_shown(one.sums)} for one in groups.rows],
            "has_more": groups.has_more,
            "since": groups.since,
        }
    )


@router.get("/costs.csv", summary="Costs as CSV")
async def costs_csv(
    request: HttpRequest, by: What = "day", from_: From = None, to: To = None, limit: Limit = 100
) -> HttpResponseBase:
    """The same groups, a line each; where there are more, a last one of all others (by tag and purpose: that says so).

    What a spreadsheet would take for a formula has an apostrophe before it.
    """
    span = _span(from_, to)

    def read(actor: Actor) -> bytes:
        reach = _reach(actor)
        groups = costs.grouped(by, span, reach, limit)
        return spreadsheet.of_groups(by, groups, costs.rest(by, groups, lambda: costs.total_of(span, reach)))

    return _file(HttpResponse(await acted(request, read), content_type=CSV), f"costs-by-{by}")


@router.get("/costs/charges.csv", summary="Single charges as CSV")
async def charges_csv(request: HttpRequest, from_: From = None, to: To = None) -> HttpResponseBase:
    """Every charge of some days, the oldest first; at most 100,000, for as long as they are kept."""
    span = _span(from_, to)
    await acted(request, lambda actor: spreadsheet.check_count(span, _reach(actor)))

    async def read(after: spreadsheet.After | None) -> tuple[list[list[Any]], spreadsheet.After | None]:
        return await acted(request, lambda actor: spreadsheet.page_of(span, _reach(actor), after))

    return _file(PartsResponse(spreadsheet.of_charges(read), None, CSV), "charges")


def _span(first: date | None, last: date | None) -> Span:
    """The days that are meant. Raises BadRequest."""
    last = last or timezone.now().date()
    if not date(1971, 1, 1) < last < date.max:
        raise BadRequest("`to` is beyond the calendar.")
    first = first or last - timedelta(days=USUAL_DAYS - 1)
    if first > last:
        raise BadRequest("`from` is after `to`.")
    if (last - first).days >= MOST_DAYS:
        raise BadRequest(f"That is more than {MOST_DAYS} days.")
    return Span(first, last + timedelta(days=1))


def _reach(actor: Actor) -> Reach:
    return actor.must(Permission.SEE_USAGE)


def _shown(sums: Sums) -> dict[str, Any]:
    figures: dict[str, Any] = {name: getattr(sums, name) for name in COLUMNS}
    for name, shown in spreadsheet.MONEY.items():
        figures[shown] = spreadsheet.dollars(figures[name])
    return figures


def _file(response: HttpResponseBase, name: str) -> HttpResponseBase:
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    response["Cache-Control"] = "no-store"
    return response
