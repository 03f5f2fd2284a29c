"""Models: which are here, which are loaded, what each does, and what an operator may do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from dashboard.access import page, reach
from dashboard.llm.acts import Act, act_of, carry_out, failures
from dashboard.llm.facts import Facts, in_order, read_facts
from dashboard.llm.offers import Offers
from dashboard.llm.rows import MOST_ROWS, Local, Place, Used, fits, locals_of, places_of, with_prices
from dashboard.llm.verdict import memory_of, models_verdict
from dashboard.periods import PERIODS, Period, period
from dashboard.reading import reader
from dashboard.running import Here, candidates_of, installed_model, models_here, offers, shown
from dashboard.views.overview import read

LIVE_EVERY_S = 5
LONGEST_WANTED = 255


@dataclass(frozen=True, slots=True)
class Said:
    """What is true after an act, with a way back where there is one."""

    words: str
    is_warning: bool = False
    undo: str = ""  # the address that takes it back
    at: datetime = field(default_factory=timezone.now)  # it stays on the page when it is true no more


@dataclass(frozen=True, slots=True)
class _Seen:
    """All there is: what this machine says, what is known of elsewhere, what the ledger says."""

    rows: list[Local] | None
    is_known: bool  # the host said what is loaded
    places: Sequence[Place]
    used: Used | None
    offers: Offers


@require_safe
async def models(request: HttpRequest) -> HttpResponseBase:
    """Those of this machine, then places elsewhere."""
    return await _list(request, period(request.GET.get("period")))


@require_safe
async def model(request: HttpRequest, name: str) -> HttpResponseBase:
    """One, by any of its names."""
    return await _one(request, name, period(request.GET.get("period")))


@require_http_methods(["GET", "HEAD", "POST"])
async def act(request: HttpRequest) -> HttpResponseBase:
    """POST loads a model, keeps it, or lets it go; GET says what letting it go would do, as a page or a dialog."""
    wanted, name = act_of(request.GET.get("do", "")), request.GET.get("name", "")
    found = await installed_model(name) if wanted else None
    if wanted is None or found is None:
        raise Http404
    here = await models_here()
    busy = next((one for one in here.loaded or () if one.model.name == found.name and one.busy), None)
    if request.method != "POST":
        context = {"here": "models", "name": found.name, "busy": busy, "chosen": period(request.GET.get("period"))}
        part = "#dialog" if request.GET.get("part") == "dialog" else ""
        return await page(request, f"dashboard/model_unload.html{part}", context)
    if wanted == "unload" and busy and request.GET.get("sure") != "1":
        if not request.headers.get("HX-Request"):
            return redirect(f"{reverse('dashboard:models-act')}?{urlencode({'do': wanted, 'name': found.name})}")
        return await _after(
            request, found.name, Said(f"{found.name} is busy by now; say again that it is to go.", True)
        )
    outcome = await carry_out(wanted, found, f"user:{cast(User, request.user).get_username()}")
    undo = _address(outcome.back, found.name) if outcome.back else ""
    return await _after(request, found.name, Said(outcome.words, outcome.is_warning, undo))


def _address(wanted: Act, name: str) -> str:
    return f"{reverse('dashboard:models-act')}?{urlencode({'do': wanted, 'name': name})}"


async def _after(request: HttpRequest, name: str, said: Said) -> HttpResponseBase:
    """The page that was acted on, saying what is true now; without JavaScript it is asked for anew."""
    is_one, chosen = request.POST.get("on") == "one", period(request.POST.get("period"))
    if request.headers.get("HX-Request"):
        return await (_one(request, name, chosen, said) if is_one else _list(request, chosen, said))
    (messages.warning if said.is_warning else messages.success)(request, said.words)
    where = reverse("dashboard:model", args=[name]) if is_one else reverse("dashboard:models")
    return redirect(f"{where}?period={chosen.slug}")


async def _see(request: HttpRequest, chosen: Period) -> _Seen:
    known = offers()
    here, used = await asyncio.gather(
        models_here(), read(reader.used(chosen, reach(request), [one.name for one in known.registry.providers]))
    )
    rows = locals_of(here, used, known.registry, failures())
    names = {row.name for row in rows or ()}
    return _Seen(rows, here.loaded is not None, places_of(known, used, names), used, known)


async def _list(request: HttpRequest, chosen: Period, said: Said | None = None) -> HttpResponseBase:
    seen = await _see(request, chosen)
    asked = request.POST if request.method == "POST" else request.GET
    wanted = asked.get("q", "").strip().lower()[:LONGEST_WANTED]
    matching = [row for row in seen.places if fits(row, wanted)]
    few = matching[:MOST_ROWS]
    memory = memory_of(seen.rows)
    context = {
        "verdict": models_verdict(seen.rows, memory, seen.places, seen.used, is_known=seen.is_known),
        "memory": memory,
        "rows": seen.rows,
        "is_known": seen.is_known,
        "places": await read(reader.run(lambda: with_prices(few, seen.offers, timezone.now()))) or few,
        "matching": len(matching),
        "all_places": len(seen.places),
        "wanted": wanted,
        "narrowed": f"&{urlencode({'q': wanted})}" if wanted else "",
        "here_at": f"{reverse('dashboard:models')}?{urlencode({'period': chosen.slug, 'q': wanted})}",
        "models_dir": settings.MODELS_DIR,
    }
    return await _rendered(request, "dashboard/models.html", context, seen.used, chosen, said)


async def _one(request: HttpRequest, name: str, chosen: Period, said: Said | None = None) -> HttpResponseBase:
    seen = await _see(request, chosen)
    row = next((one for one in seen.rows or () if one.name == name), None)
    place = next((one for one in seen.places if one.name == name), None)
    entry = next((one for one in seen.offers.registry.models if name in (one.name, *one.aliases)), None)
    if row is None and seen.rows is None and (found := await installed_model(name)):
        row = next(iter(locals_of(Here(None, [found]), seen.used, seen.offers.registry) or ()), None)
    one = row or place
    if one is None and entry is None:
        raise Http404
    names = (name, *(one.names if one else ()), *((entry.name, *entry.aliases) if entry else ()))
    facts: Facts | None = await read(reader.run(lambda: read_facts(names, place, seen.offers)))
    if place is not None and facts is not None:
        place = replace(place, price=facts.price)
    context: dict[str, Any] = {
        "name": name,
        "row": row,
        "is_known": seen.is_known,
        "place": place,
        "entry": entry,
        "figures": one.figures if one else None,
        "share": one.share if one else None,
        "state": one.state if one else None,
        "facts": facts,
        "details": await shown(row.model) if row else None,
        "order": in_order(entry, await candidates_of(name), seen.places, seen.rows) if entry else None,
        "here_at": f"{reverse('dashboard:model', args=[name])}?period={chosen.slug}",
    }
    return await _rendered(request, "dashboard/model.html", context, seen.used, chosen, said)


async def _rendered(
    request: HttpRequest, template: str, context: dict[str, Any], used: Used | None, chosen: Period, said: Said | None
) -> HttpResponseBase:
    part = "#board" if request.headers.get("HX-Request") else ""
    context |= {
        "here": "models",
        "used": used,
        "period": chosen,
        "periods": PERIODS,
        "said": said,
        "every_s": LIVE_EVERY_S,
    }
    return await page(request, template + part, context)
