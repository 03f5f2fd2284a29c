"""Limits of a key, a team or a tenant: made, changed and deleted."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from dashboard.access import page, reach
from dashboard.acting import NOTHING_WRONG, acted, faults_of
from dashboard.keys import forms, words
from dashboard.unread import said_when_unread
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.limits import EACH, KINDS
from orchestrator.core.permissions import Reach
from orchestrator.identity import limiting
from orchestrator.models import ApiKey, Limit, Tenant

NAMES_OF_KINDS = {
    "requests": "requests, in a time",
    "tokens": "tokens, in a time",
    "concurrent": "calls at a time",
    "cache_bytes": "bytes in the cache",
    "queue": "requests that wait",
    "stream_s": "seconds an answer may take",
}


@require_http_methods(["GET", "HEAD", "POST"])
@said_when_unread
async def new(request: HttpRequest) -> HttpResponseBase:
    """Set a limit for a key, a team or a tenant."""
    typed, faults = forms.typed(request.GET) | {"per_s": "60"}, NOTHING_WRONG
    if request.method == "POST":
        typed = forms.typed(request.POST)
        try:
            asked = forms.limit_asked(typed)
            row = await acted(request, lambda by: limiting.make(by, asked))
        except OrchestratorError as error:
            faults = faults_of(error, forms.LIMIT_FIELDS)
        else:
            messages.success(request, f"{row.name} holds from the next request on: {words.limit(row)}.")
            return redirect(_where(row))
    return await _form(request, typed, faults, None)


@require_http_methods(["GET", "HEAD", "POST"])
@said_when_unread
async def limit(request: HttpRequest, number: int) -> HttpResponseBase:
    """Change a limit. What it counts, and whose, stays."""
    row = await sync_to_async(_found)(number, reach(request))
    typed, faults = forms.typed_of(row), NOTHING_WRONG
    if request.method == "POST":
        typed = forms.typed_of(row) | forms.typed(request.POST)
        typed["is_off"] = request.POST.get("is_off", "")
        try:
            asked = forms.limit_change(typed)
            row = await acted(request, lambda by: limiting.change(by, row.name, asked))
        except OrchestratorError as error:
            faults = faults_of(error, forms.LIMIT_FIELDS)
        else:
            said = (
                "is off and counts nothing." if row.is_off else f"holds from the next request on: {words.limit(row)}."
            )
            messages.success(request, f"{row.name} {said}")
            return redirect(_where(row))
    return await _form(request, typed, faults, row)


@require_POST
@said_when_unread
async def delete(request: HttpRequest, number: int) -> HttpResponseBase:
    """Take a limit away."""
    row = await sync_to_async(_found)(number, reach(request))
    try:
        await acted(request, lambda by: limiting.delete(by, row.name))
    except OrchestratorError as error:
        return await _form(request, forms.typed_of(row), faults_of(error, ()), row)
    messages.success(request, f"{row.name} is gone. It held: {words.limit(row)}.")
    return redirect(_where(row))


async def _form(request: HttpRequest, typed: Any, faults: Any, row: Limit | None) -> HttpResponseBase:
    context = {
        "here": "keys",
        "typed": typed,
        "faults": faults,
        "limit": row,
        "was": forms.was(typed) if row else (),
        "kinds": [(kind, NAMES_OF_KINDS.get(kind, kind)) for kind in KINDS],
        "eachs": EACH,
        "back": _where(row) if row else await sync_to_async(_where_of)(typed, reach(request)),
    }
    return await page(request, "dashboard/limit.html", context, status=422 if faults else 200)


def _found(number: int, whose: Reach) -> Limit:
    rows = Limit.objects.select_related("tenant", "team__tenant", "key").filter(pk=number)
    row = (rows if whose.tenants is None else rows.filter(tenant__in=whose.tenants)).first()
    if row is None:
        raise Http404
    return row


def _where(row: Limit) -> str:
    if row.key_id:
        return reverse("dashboard:key", args=[row.key_id])
    return reverse("dashboard:tenant", args=[row.tenant_id]) if row.tenant_id else reverse("dashboard:keys")


def _where_of(typed: Any, whose: Reach) -> str:
    """Where a limit that is not made yet would be seen."""
    key = ApiKey.objects.of(whose).filter(prefix=typed.get("key") or None).first()
    if key is not None:
        return reverse("dashboard:key", args=[key.pk])
    tenant = Tenant.objects.filter(name=typed.get("tenant") or None).first()
    is_seen = tenant is not None and tenant.pk in whose  # type: ignore[comparison-overlap]
    return reverse("dashboard:tenant", args=[tenant.pk]) if tenant and is_seen else reverse("dashboard:keys")
