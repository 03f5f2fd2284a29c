"""The cache: what it answered, what it holds, and making it forget."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import DatabaseError, close_old_connections
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe
from django_htmx.http import HttpResponseClientRedirect

from cache.entries import Holding, Scope
from cache.models import CacheEntry
from cache.tiered import OTHER_MACHINES, Purged
from dashboard import formats
from dashboard.access import page, reach, roles
from dashboard.answers import kept, purging
from dashboard.answers.choices import choices
from dashboard.answers.misses import NO_HITS, AllHits, Hits
from dashboard.answers.purging import KINDS, Purge, within
from dashboard.periods import PERIODS, period
from dashboard.reading import CACHE_FRESH_S, Snapshot, reader
from dashboard.running import holding, of_all_workers, purges
from dashboard.running import purge as purge_now
from dashboard.tiers import ALWAYS_SHOWN, FAR_FROM_CACHE, NAMES, STACK
from dashboard.verdict import cache_verdict
from dashboard.views.overview import read
from orchestrator.audit import note
from orchestrator.core.errors import Busy
from orchestrator.core.numbers import whole
from orchestrator.core.permissions import EVERYBODY, Permission, Reach, reach_of
from orchestrator.core.tasks import see_through
from orchestrator.wiring import parts

log = logging.getLogger(__name__)

FILTERS = ("key", "model", "namespace", "tenant", "tenant_name", "hits")
NOBODY = 0  # no tenant has this number
NEARLY_FULL = 90.0  # per cent
LEAST_HITS = (1, 2, 5, 10, 100)
CHOSEN = ("model", "namespace", "tenant", "only")
NO_NAMES: Mapping[str, Any] = {"models": [], "namespaces": [], "tenants": []}
NOTED_S = 20.0  # longest wait until it is written down
RECORD = "record"  # what a purge calls its own log, beside the tiers


class Answer(NamedTuple):
    """A kept answer as a page shows it."""

    entry: CacheEntry
    tenant: str
    namespace: str
    text: str | None  # how it begins; None: who looks may not see it, or it is long
    hits: Hits | None  # lately


@require_safe
async def cache(request: HttpRequest) -> HttpResponseBase:
    """How far requests travel, what each tier holds, and the answers kept."""
    chosen = period(request.GET.get("period"))
    whose = reach(request)
    query = {name: request.GET.get(name, "").strip().replace("\0", "") for name in (*FILTERS, "after")}
    snapshot, misses, hits, names, held = await asyncio.gather(
        read(reader.snapshot(chosen, whose)),
        read(reader.misses(chosen, whose)),
        read(reader.hits(whose)),
        _names(whose),
        holding(*within(Scope(), whose)),
    )
    answers = purging.total(held)
    is_of_all = whose == EVERYBODY and settings.WEB_WORKERS > 1
    if is_of_all:  # a sum, in which an answer that several keep counts as often
        held = await of_all_workers(held)
    sees_answers = reach_of(roles(request), Permission.SEE_ANSWERS)
    listed = await sync_to_async(_listed)(query, whose, sees_answers, hits, names)
    stair = _stair(snapshot, held, settings.WEB_WORKERS if is_of_all else 1)
    full = [row["name"] for row in stair if row["used"] is not None and row["used"] >= NEARLY_FULL]
    context = {
        "here": "cache",
        "period": chosen,
        "periods": PERIODS,
        "verdict": cache_verdict(snapshot, answers, full),
        "stair": stair,
        "workers": settings.WEB_WORKERS,
        "is_of_all": is_of_all,
        "snapshot": snapshot,
        "query": query,
        "is_filtered": any(query[name] for name in FILTERS),
        "misses": misses,
        "least_hits": LEAST_HITS,
        "hits": hits,
        "records": reverse("dashboard:requests"),
        **listed,
    }
    return await page(request, "dashboard/cache.html", context)


@require_http_methods(["GET", "HEAD", "POST"])
async def purge(request: HttpRequest) -> HttpResponseBase:
    """GET shows what would be forgotten; POST forgets it, if that is still what was shown.

    A POST may ask for the count alone: by GET, all that stands in the form would stand in the address.
    Works as a page by itself. With `?part=dialog` it is the inside of a dialog, with `?part=preview`
    only the count.
    """
    asked = purging.read(request.POST if request.method == "POST" else request.GET)
    whose = reach(request)
    asked = await sync_to_async(_named)(asked, whose)
    held = await holding(*within(asked.scope, whose)) if asked.scope else {}
    count = purging.total(held)
    is_asked = request.method == "POST" and request.POST.get("act") != "count"
    if is_asked:
        faults = purging.what_stops(asked, count)
        if not faults and asked.scope:
            await _carry_out(request, asked, within(asked.scope, whose))
            reader.forget()
            if request.headers.get("HX-Request"):
                return HttpResponseClientRedirect(reverse("dashboard:cache"))
            return redirect("dashboard:cache")
        asked.faults.update(faults)
    part = request.GET.get("part", "")
    template = "dashboard/purge.html" + (f"#{part}" if part in {"dialog", "preview"} else "")
    context = {
        "here": "cache",
        "purge": asked,
        "kinds": KINDS,
        "held": held,
        "count": count,
        "tiers": [(tier, NAMES[tier], held[tier]) for tier in STACK if held and tier in held],
    }
    if part != "preview":
        names, picked = await _names(whose), {name: getattr(asked, name) for name in CHOSEN}
        context["choices"] = choices(names, picked, asked.tenant_name)
    return await page(request, template, context, status=422 if asked.faults and is_asked else 200)


def _named(asked: Purge, whose: Reach) -> Purge:
    """With its tenant's number and name. A tenant that is not there, or not theirs who ask, is none."""
    number = whole(asked.tenant)
    if number is None and asked.tenant_name:
        number = kept.tenant_named(asked.tenant_name, whose)
        return asked if number is None else replace(asked, tenant=str(number))
    if number is None:
        return asked
    name = kept.tenant_names({number}).get(number) if number in whose else None  # type: ignore[comparison-overlap]
    return replace(asked, tenant=asked.tenant if name else "", tenant_name=name or "")


async def _carry_out(request: HttpRequest, asked: Purge, scopes: Sequence[Scope]) -> None:
    """Purge, and leave a message that says what is true now."""
    words, done = await see_through(_purge(request, asked, scopes))  # who closes the page has purged all the same
    if done is None:
        messages.warning(request, "The purge was not over in time. Look at the counts below, and purge again.")
        return
    missed = formats.listing([NAMES[tier] for tier in STACK if tier in done.failed])
    if done.is_complete:
        messages.success(request, f"Purged {words}. They are gone from every process.")
    elif RECORD in done.failed:
        messages.warning(request, f"Purged {words}, but the purge could not be written down. Purge again.")
    elif missed:
        messages.warning(request, f"Purged {words}. {missed} could not be reached; what it holds is not served.")
    if OTHER_MACHINES in done.failed:
        messages.warning(request, f"Purged {words} here, not on every machine yet: {done.failed[OTHER_MACHINES]}")


async def _purge(request: HttpRequest, asked: Purge, scopes: Sequence[Scope]) -> tuple[str, Purged | None]:
    """What was purged, in words, and what came of it; None when it was not over in time. Either is written down."""
    tenants = [scope.tenant_id for scope in scopes]
    try:
        done = await purge_now(*scopes)
    except TimeoutError:
        words = f"answers {asked.words}, not over in time"
        await _written_down(request, asked, words, Purged(), tenants)
        return words, None
    gone = max(done.counts.values(), default=0)
    words = f"{formats.count(gone)} {'answer' if gone == 1 else 'answers'} {asked.words}"
    await _written_down(request, asked, words, done, tenants)
    return words, done


async def _written_down(
    request: HttpRequest, asked: Purge, words: str, done: Purged, tenants: Sequence[int | None]
) -> None:
    """Remember it, in a thread that outlives the request. The purge is done: a failure here is only logged."""
    try:
        await parts().managing.run(NOTED_S, lambda: _remember(request, asked, words, done, tenants))
    except (Busy, TimeoutError) as error:
        log.error("the purge of %s could not be written into the log: %s", words, str(error) or "no answer in time")


def _remember(request: HttpRequest, asked: Purge, words: str, done: Purged, tenants: Sequence[int | None]) -> None:
    """Write who purged what and why into the admin's log, and into the audit of whose answers they were."""
    counts = ", ".join(f"{tier} {entries}" for tier, entries in done.counts.items())
    log.info("%s purged %s (%s): %s", request.user, words, counts, asked.reason or "no reason given")
    told: dict[str, Any] = {"unreached": list(done.failed), "reason": asked.reason}
    if len(tenants) == 1:  # else they are not of any one of them
        told["counts"] = done.counts
    try:
        for tenant_id in tenants:  # None: of all of them
            note(f"user:{request.user.get_username()}", "cache.purged", words, tenant_id, told)
        LogEntry.objects.create(
            user_id=cast(int, request.user.pk),
            content_type=ContentType.objects.get_for_model(CacheEntry),
            object_repr=words[:200],
            action_flag=DELETION,
            change_message=f"Purged ({counts}): {asked.reason or 'no reason given'}",
        )
    except DatabaseError as error:
        log.error("the purge of %s could not be written into the log: %s", words, error)


def _listed(
    query: Mapping[str, str], whose: Reach, sees_answers: Reach, hits: AllHits | None, names: Mapping[str, Any]
) -> dict[str, Any]:
    """The kept answers a page shows; None when the cache file cannot be read."""
    known = hits or NO_HITS
    least = whole(query["hits"]) or 0
    often = [key for key, one in known.by_key.items() if one.count >= least] if least else None
    try:
        tenant_id = _asked_tenant(query, whose)
        wanted = kept.Filter(
            key=query["key"].lower(),
            model=query["model"] or None,
            namespace=purging.namespace_of(query["namespace"]) if query["namespace"] else None,
            tenant_id=tenant_id,
            keys=often,
        )
        found = kept.kept_page(whose, wanted, query["after"])
        texts = kept.beginnings(found.entries, sees_answers)
    except DatabaseError as error:
        log.warning("a page could not read the kept answers: %s", error)
        return {"kept": None, **NO_NAMES}
    tenants = {number: name for number, name, _ in names["tenants"]}
    shown = {entry.tenant_id for entry in found.entries}
    if tenant_id is not None and tenant_id in whose:  # type: ignore[comparison-overlap]  # it says itself
        shown.add(tenant_id)
    tenants |= kept.tenant_names(shown - tenants.keys())
    rows = [
        Answer(
            entry,
            tenants.get(entry.tenant_id, f"tenant {entry.tenant_id}"),
            purging.shown_namespace(entry.namespace),
            texts.get(entry.hash),
            known.by_key.get(entry.hash),
        )
        for entry in found.entries
    ]
    return {
        "kept": found,
        "rows": rows,
        "most_counted": kept.MOST_COUNTED,
        "sees_texts": not sees_answers.is_nobody,
        "choices": choices(
            names,
            {**query, "tenant": str(tenant_id or "")},
            tenants.get(tenant_id or NOBODY, query["tenant_name"]),
        ),
        **names,
    }


def _asked_tenant(query: Mapping[str, str], whose: Reach) -> int | None:
    """The number of the tenant whose answers are looked for; None: any tenant's."""
    number = whole(query["tenant"])
    if number is None and query["tenant_name"]:
        return kept.tenant_named(query["tenant_name"], whose) or NOBODY
    return number


async def _names(whose: Reach) -> Mapping[str, Any]:
    """What answers can be narrowed to, each with how many: every answer is counted for it, so for all who look at once.

    Nothing is purged by these counts: what a purge would forget is counted anew each time. After a purge they are
    counted anew, too, whichever process it was in.
    """
    name = f"names of answers after {purges()} purges"
    return await read(reader.kept(name, whose, CACHE_FRESH_S, lambda: _read_names(whose))) or NO_NAMES


def _read_names(whose: Reach) -> Mapping[str, Any]:
    close_old_connections()
    namespaces = [(purging.shown_namespace(named.name), named.entries) for named in kept.by_namespace(whose)]
    tenants = kept.by_tenant(whose)
    return {"models": kept.by_model(whose), "namespaces": namespaces, "tenants": tenants}


def _stair(snapshot: Snapshot | None, held: Mapping[str, Holding | None] | None, workers: int) -> list[dict[str, Any]]:
    """One row a tier: where its bar begins and how long it is, what was asked of it, what it holds.

    workers  of how many the memory is told.
    """
    figures = snapshot.figures if snapshot else None
    room = {
        "memory": settings.CACHE_MEMORY * workers,
        "redis": None if settings.REDIS_URL else settings.CACHE_REDIS_MEMORY,  # a shared one has its own limit
        "sqlite": settings.CACHE_DISK,
    }
    rows = []
    asked = figures.cacheable if figures else 0
    begin = 0.0
    for tier in STACK:
        answered = figures.by_tier[tier] if figures else 0
        if (tier not in ALWAYS_SHOWN and not answered) or tier == "bypass":
            continue
        share = answered / figures.cacheable if figures and figures.cacheable else None
        holds = held.get(tier) if held is not None else None
        limit = room.get(tier)
        rows.append(
            {
                "tier": tier,
                "name": NAMES[tier],
                "is_cache": tier not in FAR_FROM_CACHE,
                "begin": 100 * begin,
                "length": 100 * (share or 0),
                "share": share,
                "share_of_asked": answered / asked if asked and tier not in FAR_FROM_CACHE else None,
                "saved": figures.saved.get(tier) if figures else None,
                "p50_us": figures.latency_by_tier[tier].p50_us if figures else None,
                "holds": holds,
                "is_off": held is not None and tier not in held,
                "room": limit,
                "used": min(100.0, 100 * holds.bytes / limit) if holds and limit else None,
            }
        )
        begin += share or 0
        asked -= answered if tier not in FAR_FROM_CACHE else 0
    return rows
