"""The costs: what was spent and saved, how far budgets reach, and the same calls at other prices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from dashboard.access import page, reach, roles
from dashboard.costs import charts as cost_charts
from dashboard.costs.periods import Chosen, choices, chosen
from dashboard.costs.sums import Costs, group_rows, read_costs, read_prices, word_of
from dashboard.costs.verdict import costs_verdict
from dashboard.reading import reader
from dashboard.running import sold
from dashboard.views.overview import read
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.permissions import EVERYBODY, Permission, reach_of
from orchestrator.ledger import spreadsheet
from orchestrator.ledger.costs import BYS, OF_CHARGES, By, grouped, rest, total_of

CSV, PLAIN = "text/csv; charset=utf-8", "text/plain; charset=utf-8"
MOST_LINES = 10_000
USUAL: By = "model"
WORDS: Mapping[By, str] = {
    "model": "Model",
    "provider": "Provider",
    "tenant": "Tenant",
    "key": "Key",
    "tag": "Tag",
    "purpose": "Purpose",
    "day": "Day",
}


@require_safe
async def costs(request: HttpRequest) -> HttpResponseBase:
    """What was spent, by what, and what that does to the budgets."""
    now, asked, whose = timezone.now(), _asked(request), reach(request)
    by, picked = _by(request), request.GET.get("budget", "")[:512]
    budgets = reach_of(roles(request), Permission.SEE_BUDGETS)
    found = await read(reader.run(lambda: read_costs(asked, by, whose, now, picked, budgets)))
    if found is None or found.use is None or word_of(found.use) != picked:
        picked = ""  # there is none such, or not for who looks
    context = _shared(request, asked) | {
        "found": found,
        "verdict": costs_verdict(found),
        "by": by,
        "by_words": WORDS[by],
        "bys": list(WORDS.items()),
        "has_savings": by not in OF_CHARGES,
        "budget": picked,
        "and_budget": f"&{urlencode({'budget': picked})}" if picked else "",
    }
    if found is not None:
        context |= _drawn(found)
    return await _rendered(request, "dashboard/costs.html", context)


@require_safe
async def prices(request: HttpRequest) -> HttpResponseBase:
    """The same calls at the prices in force, and on other models."""
    asked, whose = _asked(request), reach(request)
    now, models = timezone.now(), sold()
    found = await read(reader.run(lambda: read_prices(asked, whose, now, models)))
    return await _rendered(request, "dashboard/prices.html", _shared(request, asked) | {"found": found})


@require_safe
async def costs_csv(request: HttpRequest) -> HttpResponseBase:
    """The groups of the page as CSV, and more of them."""
    asked, by, whose = _asked(request), _by(request), reach(request)
    if asked.wrong:
        return _refused(asked)

    def lines() -> bytes:
        groups = grouped(by, asked.span, whose, MOST_LINES)
        return spreadsheet.of_groups(by, groups, rest(by, groups, lambda: total_of(asked.span, whose)))

    written = await read(reader.run(lines))
    if written is None:
        return _later()
    return _file(HttpResponse(written, content_type=CSV), f"costs-by-{by}", asked)


@require_safe
async def charges_csv(request: HttpRequest) -> HttpResponseBase:
    """Every charge of the days, as it is read."""
    asked, whose = _asked(request), reach(request)
    if asked.wrong:
        return _refused(asked)
    try:
        await reader.run(lambda: spreadsheet.check_count(asked.span, whose))
    except OrchestratorError as error:
        return HttpResponse(f"{error}\n", status=error.status, content_type=PLAIN)
    except TimeoutError:
        return _later()

    async def next_page(after: spreadsheet.After | None) -> tuple[list[list[Any]], spreadsheet.After | None]:
        return await reader.run(lambda: spreadsheet.page_of(asked.span, whose, after))

    response = StreamingHttpResponse(spreadsheet.of_charges(next_page), content_type=CSV)
    return _file(response, "charges", asked)


def _refused(asked: Chosen) -> HttpResponse:
    """A file of other days than were asked for would pass for the right one."""
    return HttpResponse(f"{asked.wrong}\n", status=400, content_type=PLAIN)


def _drawn(found: Costs) -> dict[str, Any]:
    span = found.chosen.span
    drawn: dict[str, Any] = {
        "chart": cost_charts.by_day(span, found.days),
        "sparks": cost_charts.sparks(span, found.days),
        "rows": group_rows(found),
        "uses": [(use, word_of(use)) for use in found.uses],
        "would_be": found.total.cost_microusd + found.total.saved_microusd,
    }
    if found.use is not None:
        drawn |= {
            "burn": cost_charts.burn_down(found.use, found.burnt),
            "burn_word": word_of(found.use),
            "lasts_until": found.use.used_up_at or cost_charts.lasts_until(found.use, found.burnt),
            "unbooked": found.use.here - sum(found.burnt.values()) if found.use.ends is not None else 0,
        }
    return drawn


def _shared(request: HttpRequest, asked: Chosen) -> dict[str, Any]:
    """What both pages need."""
    sees_all = reach(request) == EVERYBODY
    return {
        "here": "costs",
        "chosen": asked,
        "choices": choices(timezone.now().date()),
        "charges": reverse("admin:orchestrator_charge_changelist") if sees_all else "",  # shows every tenant's
    }


async def _rendered(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponseBase:
    part = "#board" if request.headers.get("HX-Request") else ""
    response = await page(request, template + part, context)
    response["Vary"] = "HX-Request, Cookie"
    return response


def _asked(request: HttpRequest) -> Chosen:
    return chosen(request.GET.dict(), timezone.now().date())


def _by(request: HttpRequest) -> By:
    asked = request.GET.get("by")
    return next((by for by in BYS if by == asked), USUAL)


def _file(response: HttpResponseBase, name: str, asked: Chosen) -> HttpResponseBase:
    days = f"{asked.span.first.isoformat()}-{asked.last.isoformat()}"
    response["Content-Disposition"] = f'attachment; filename="{name}-{days}.csv"'
    return response


def _later() -> HttpResponse:
    return HttpResponse("The ledger did not answer in time; try again.\n", status=503, content_type="text/plain")
