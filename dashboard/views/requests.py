"""Requests: which there were, and why each went as it did."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from dashboard.access import page, reach, roles
from dashboard.answers.misses import WORDS as MISSED
from dashboard.periods import PERIODS, Period, period
from dashboard.reading import Snapshot, reader
from dashboard.requests import asked as asking
from dashboard.requests import parts as shown
from dashboard.requests import sheet
from dashboard.requests.asked import ANY_TIME, Asked, asked
from dashboard.requests.counts import counts
from dashboard.requests.names import Names, names
from dashboard.requests.one import One, find, read_one
from dashboard.requests.searching import Found, news, search
from dashboard.requests.told import saved_by, slower_than, told
from dashboard.requests.verdict import list_verdict, share_of
from dashboard.requests.waterfall import asked_at, waterfall
from dashboard.running import tiers_there
from dashboard.views.overview import read
from orchestrator.core.errors import NotThere
from orchestrator.core.numbers import whole
from orchestrator.core.permissions import EVERYBODY, Permission, Reach, reach_of
from orchestrator.ledger import stages
from orchestrator.ledger.stats import FROM_CACHE
from orchestrator.outcomes.saying import LONGEST_NOTE, is_answered, judge

LIVE_EVERY_S = 2
AGAIN_EVERY_S = 60  # the page with its figures, by who has it open
NAMES_FRESH_S = 5.0  # of tenants and keys
HOUR = "1h"


@require_safe
async def requests(request: HttpRequest) -> HttpResponseBase:
    """Those that are asked for, the newest first. With `?part=news` only rows that came after a number."""
    whose = reach(request)
    known = await read(reader.kept("names", whose, NAMES_FRESH_S, lambda: names(whose))) or Names()
    wanted = asked(request.GET.dict(), timezone.now(), known.by_number)
    if request.GET.get("part") == "news":
        return await _news(request, wanted, whose)
    before, after = _number(request, "before"), _number(request, "after")
    found, snapshot = await asyncio.gather(
        read(reader.run(partial(search, wanted, whose, before=before, after=after))), _figures(wanted, whose)
    )
    context = {
        "here": "requests",
        "asked": wanted,
        "chosen_time": wanted.period.slug if wanted.period else ANY_TIME if wanted.is_any_time else "",
        "periods": PERIODS,
        "names": known,
        "tier_choices": asking.tier_choices(),
        "ways": asking.ways(),
        "dialects": asking.DIALECTS,
        "paid": asking.PAID,
        "models": [one.model for one in snapshot.figures.by_model] if snapshot else [],
        "verdict": list_verdict(wanted, found, snapshot),
        "counts": counts(wanted, snapshot),
        "snapshot": snapshot,
        "found": found,
        "rows": None if found is None else found.rows,
        "is_newest": not before and not (found and found.newer),
        "record_days": settings.RECORD_DAYS,
        "every_s": LIVE_EVERY_S,
        "again_s": AGAIN_EVERY_S,
    }
    return await page(request, "dashboard/requests.html", context, status=422 if wanted.faults else 200)


@require_safe
async def requests_csv(request: HttpRequest) -> HttpResponseBase:
    """What is filtered, as CSV, as it is read. A file shows no faults: a filter that cannot be read is refused."""
    whose = reach(request)
    wanted = asked(request.GET.dict(), timezone.now())
    if wanted.faults:
        return HttpResponse(f"{wanted.refusal}\n", status=422, content_type="text/plain; charset=utf-8")
    begin = _number(request, "before")

    async def next_page(before: int) -> Found:
        return await reader.run(partial(search, wanted, whose, before=before or begin, most=sheet.PAGE))

    response = StreamingHttpResponse(sheet.sheet(next_page), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = 'attachment; filename="requests.csv"'
    return response


@require_safe
async def request(request: HttpRequest, number: int) -> HttpResponseBase:
    """One of them, with why it went as it did."""
    return await _one(request, number)


@require_POST
async def judged(request: HttpRequest, number: int) -> HttpResponseBase:
    """Keep what somebody says of the answer; the router learns from it."""
    good, words = request.POST.get("good"), request.POST.get("note", "").strip()
    if good not in {"0", "1"}:
        return await _one(request, number, "Say whether the answer was right.", status=422)
    if len(words) > LONGEST_NOTE:
        return await _one(request, number, f"A note has at most {LONGEST_NOTE} characters.", status=422)
    record = await sync_to_async(find)(number, reach(request))
    if record is None:
        raise Http404
    try:
        await sync_to_async(judge)(record, float(good), by=request.user.get_username(), note=words)
    except NotThere as error:
        return await _one(request, number, str(error), status=409)
    what = "right" if good == "1" else "wrong"
    messages.success(request, f"Noted: the answer was {what}. The router learns from it.")
    return redirect("dashboard:request", number)


async def _one(request: HttpRequest, number: int, wrong: str = "", *, status: int = 200) -> HttpResponseBase:
    held = roles(request)
    whose = reach_of(held, Permission.SEE_USAGE)
    answers = reach_of(held, Permission.SEE_ANSWERS)
    answer = await read(reader.run(lambda: (read_one(number, whose, sees_answers=answers),)))
    if answer is None:
        context: dict[str, Any] = {"here": "requests", "number": number, "failed": True}
        return await page(request, "dashboard/request_gone.html", context, status=503)
    (found,) = answer
    if found is None:
        context = {"here": "requests", "number": number, "record_days": settings.RECORD_DAYS}
        return await page(request, "dashboard/request_gone.html", context, status=404)
    return await page(request, "dashboard/request.html", await _told(request, found) | {"wrong": wrong}, status=status)


async def _told(request: HttpRequest, found: One) -> dict[str, Any]:
    held, record = roles(request), found.record
    hour = await read(reader.snapshot(period(HOUR), reach_of(held, Permission.SEE_USAGE)))
    first = asked_at(record, found.tried)

    def may(permission: Permission) -> bool:
        return reach_of(held, permission).covers(found.whose)

    return {
        "here": "requests",
        "one": found,
        "record": record,
        "told": told(found),
        "slower_than": slower_than(record, hour.figures if hour else None),
        "added_us": first or None,
        "drawings": waterfall(record, found.tried, stages.read(record.stages)),
        "considered": shown.considered(found),
        "choice": found.decision["choice"] if found.decision else None,
        "looked": shown.looked(record, tiers_there()),
        "missed": MISSED.get(record.missed or ""),
        "cost": shown.cost(found),
        "billed": shown.billed_by(found.charges),
        "saved_by": saved_by(record.saved_why),
        "may_judge": is_answered(record) and may(Permission.PURGE_ANSWERS),
        "may_purge": bool(record.cache_key) and may(Permission.PURGE_ANSWERS),
        "may_ask": may(Permission.ASK),
        "may_see_answers": may(Permission.SEE_ANSWERS),
        "audited_at": reverse("admin:orchestrator_requestrecord_change", args=[record.pk])
        if reach_of(held, Permission.SEE_USAGE) == EVERYBODY
        else "",
        "from_cache": FROM_CACHE,
    }


async def _news(request: HttpRequest, wanted: Asked, whose: Reach) -> HttpResponseBase:
    """Rows for the top of the list; in headers how far they reach, and whether there may be more."""
    after = _number(request, "after")
    found = await read(reader.run(lambda: news(wanted, whose, after)))
    if found is None:
        return HttpResponse(status=503)
    response = await page(request, "dashboard/_request_rows.html", {"rows": found.rows})
    response["X-Newest"] = str(found.newest)
    if found.has_more:
        response["X-More"] = "1"
    return response


async def _figures(wanted: Asked, whose: Reach) -> Snapshot | None:
    """Those of the period, where they tell of what is asked for."""
    if wanted.period is None or share_of(wanted) is None:
        return None
    chosen: Period = wanted.period
    return await read(reader.snapshot(chosen, whose))


def _number(request: HttpRequest, name: str) -> int:
    return whole(request.GET.get(name, "")) or 0
