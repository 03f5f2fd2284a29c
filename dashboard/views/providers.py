"""The providers: how each is, and what an operator may do about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from dashboard import formats
from dashboard.access import page, reach
from dashboard.periods import PERIODS, Period, period
from dashboard.providers.acts import ask_again, switch
from dashboard.providers.facts import newest_failures, newest_looks, places_at, settings_of
from dashboard.providers.rows import Providers, slow_after_us, title_of
from dashboard.providers.verdict import providers_verdict
from dashboard.reading import reader
from dashboard.views.overview import read
from orchestrator.core.errors import NotThere, OrchestratorError
from orchestrator.provider_checks import look, remember
from orchestrator.registry import reading
from orchestrator.wiring import parts

if TYPE_CHECKING:
    from django.contrib.auth.models import User

LIVE_EVERY_S = 5
MOST_ROWS = 50
MANY = 12  # from so many on, a field to find one


@dataclass(frozen=True, slots=True)
class Said:
    """What is true after an act, with a way back where there is one."""

    words: str
    is_warning: bool = False
    undo: str = ""  # the address that takes it back
    at: datetime = field(default_factory=timezone.now)  # it stays on the page when it is true no more


@require_safe
async def providers(request: HttpRequest) -> HttpResponseBase:
    """All of them, the worst first."""
    return await _list(request, period(request.GET.get("period")))


@require_safe
async def provider(request: HttpRequest, name: str) -> HttpResponseBase:
    """One of them, with everything that is known of it."""
    return await _one(request, name, period(request.GET.get("period")))


@require_POST
async def test(request: HttpRequest, name: str) -> HttpResponseBase:
    """Look at it now."""
    registry = await sync_to_async(reading.read)()
    entry = next((one for one in registry.providers if one.name == name), None)
    if entry is None:
        raise Http404
    seen = await look([entry])
    await sync_to_async(remember)(seen)
    check = seen[name]
    took = formats.NARROW.join(formats.duration(check.took_s * 1e6))
    words = f"{title_of(name)} answers: it {check.words}. That took {took}."
    if not check.is_ok:
        words = f"{title_of(name)} does not answer as it should. {formats.sentence(f'it {check.words}')}"
    return await _after(request, name, Said(words, is_warning=not check.is_ok))


@require_POST
async def again(request: HttpRequest, name: str) -> HttpResponseBase:
    """Close its breakers everywhere."""
    user = cast("User", request.user)
    if name not in {one.name for one in (await sync_to_async(reading.read)()).providers}:
        raise Http404
    await sync_to_async(ask_again)(name, user)
    return await _after(request, name, Said(f"{title_of(name)} is asked again at once, by every worker."))


@require_POST
async def switched(request: HttpRequest, name: str, to: str) -> HttpResponseBase:
    """Switch it off, or on again."""
    user = cast("User", request.user)
    is_on = to == "on"
    try:
        await sync_to_async(switch)(name, user, is_on=is_on)
    except NotThere:
        raise Http404 from None
    except OrchestratorError as error:
        return await _after(request, name, Said(f"Nothing was changed: {error}", is_warning=True))
    words = "is on. Requests may go there from now on." if is_on else "is off. No request goes there from now on."
    undo = reverse("dashboard:provider-switch", args=[name, "off" if is_on else "on"])
    return await _after(request, name, Said(f"{title_of(name)} {words}", undo=undo))


async def _after(request: HttpRequest, name: str, said: Said) -> HttpResponseBase:
    """The page that was acted on, saying what is true now; without JavaScript it is asked for anew."""
    reader.forget()
    is_one, chosen = request.POST.get("on") == "one", period(request.POST.get("period"))
    if request.headers.get("HX-Request"):
        return await (_one(request, name, chosen, said) if is_one else _list(request, chosen, said))
    (messages.warning if said.is_warning else messages.success)(request, said.words)
    where = reverse("dashboard:provider", args=[name]) if is_one else reverse("dashboard:providers")
    return redirect(f"{where}?period={chosen.slug}")


async def _list(request: HttpRequest, chosen: Period, said: Said | None = None) -> HttpResponseBase:
    found = await read(reader.providers(chosen, reach(request)))
    asked = request.POST if request.method == "POST" else request.GET
    wanted, shows_all = asked.get("q", "").strip().lower(), asked.get("show") == "all"
    rows = [row for row in found.rows if wanted in row.name or wanted in row.title.lower()] if found else []
    context = {
        "verdict": providers_verdict(found),
        "rows": rows if shows_all else rows[:MOST_ROWS],
        "matching": len(rows),
        "wanted": wanted,
        "shows_all": shows_all,
        "has_many": found is not None and len(found.rows) >= MANY,
        "narrowed": f"&{urlencode(narrowed)}" if (narrowed := _narrowed(wanted, shows_all)) else "",
        "here_at": f"{reverse('dashboard:providers')}?{urlencode({'period': chosen.slug, **narrowed})}",
    }
    return await _rendered(request, "dashboard/providers.html", context, found, chosen, said)


def _narrowed(wanted: str, shows_all: bool) -> dict[str, str]:
    return {name: value for name, value in (("q", wanted), ("show", "all" if shows_all else "")) if value}


async def _one(request: HttpRequest, name: str, chosen: Period, said: Said | None = None) -> HttpResponseBase:
    found = await read(reader.providers(chosen, reach(request)))
    row = found.find(name) if found else None
    if found is not None and row is None:
        raise Http404
    context: dict[str, Any] = {
        "name": name,
        "title": title_of(name),
        "row": row,
        "here_at": f"{reverse('dashboard:provider', args=[name])}?period={chosen.slug}",
    }
    if found is not None and row is not None:
        context |= {
            "settings": settings_of(row),
            "slow_after_us": slow_after_us(row.entry) if row.entry else None,
            "row_id": found.ids.get(name),
            "places": places_at(name, found.registry),
            "unpriced": parts().catalogue.unpriced(name),
            "looks": await read(reader.run(lambda: newest_looks(name))) or (),
            "failures": await read(reader.run(lambda: newest_failures(name, found, reach(request)))) or (),
        }
    return await _rendered(request, "dashboard/provider.html", context, found, chosen, said)


async def _rendered(
    request: HttpRequest,
    template: str,
    context: dict[str, Any],
    found: Providers | None,
    chosen: Period,
    said: Said | None,
) -> HttpResponseBase:
    part = "#board" if request.headers.get("HX-Request") else ""
    context |= {
        "here": "providers",
        "found": found,
        "period": chosen,
        "periods": PERIODS,
        "said": said,
        "every_s": LIVE_EVERY_S,
        "check_s": settings.PROVIDER_CHECK_S,
        "checks_are_off": not settings.PROVIDER_CHECK_S,
        "records": reverse("dashboard:requests"),
    }
    return await page(request, template + part, context)
