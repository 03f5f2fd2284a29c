"""One question, two models side by side: who answers, how fast, from where, for how much."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.template.loader import render_to_string
from django.views.decorators.http import require_POST, require_safe

from dashboard.access import page, reach
from dashboard.playing import COLUMNS, MOST_TOKENS, Played, Question, compared, play, read
from dashboard.running import models_to_name
from orchestrator.core.numbers import whole
from orchestrator.core.permissions import Reach
from orchestrator.core.scopes import plain_address
from orchestrator.core.types import Caller
from orchestrator.identity.keys import DEFAULT_TENANT, keyless
from orchestrator.models import RequestRecord, Tenant
from routing.router import AUTO

LINES = "application/x-ndjson"
MOST_TENANTS = 500
USUAL = {"a": "auto", "b": ""}  # whom to ask, by column; an empty one asks nobody
MOST_NAMES = 300  # of models to choose from; any other may be typed


@require_safe
async def playground(request: HttpRequest) -> HttpResponseBase:
    """The form, for `auto` or about a request that was."""
    models = {column: request.GET.get(column, usual)[:255] for column, usual in USUAL.items()}
    about = None
    if number := whole(request.GET.get("request", "")):
        about = await sync_to_async(_asked)(number, reach(request))
    if about is not None:
        models = {"a": about.asked_model, "b": about.model if about.model != about.asked_model else models["b"]}
    question = Question(text=request.GET.get("question", "")[:2000], models=models)
    return await _page(request, question, about=about)


@require_POST
async def ask(request: HttpRequest) -> HttpResponseBase:
    """Ask. A script hears the answers as they come, line by line; without one the page comes with both of them."""
    question = read(request.POST)
    caller = await sync_to_async(_caller)(question.tenant, reach(request))
    if caller is None:
        faults = {**question.faults, "tenant": "That tenant is suspended, or not yours. Choose another."}
        return await _page(request, question, faults=faults)
    if question.faults:
        return await _page(request, question, faults=dict(question.faults))
    address = plain_address(request.META.get("REMOTE_ADDR", ""))
    if request.headers.get("Accept") == LINES:
        return StreamingHttpResponse(_lines(question, caller, address), content_type=LINES)
    played: dict[str, Played] = {}
    async with aclosing(play(question, caller, address)) as pieces:
        async for piece in pieces:
            if piece.played:
                played[piece.column] = piece.played
    return await _page(request, question, played=played)


async def _lines(question: Question, caller: Caller, address: str) -> AsyncGenerator[bytes, None]:
    played: dict[str, Played] = {}
    async with aclosing(play(question, caller, address)) as pieces:
        async for piece in pieces:
            line: dict[str, str] = {"to": piece.column}
            if piece.played is None:
                line["text"] = piece.text
            else:
                played[piece.column] = piece.played
                line["facts"] = await asyncio.to_thread(
                    render_to_string, "dashboard/_played.html", {"played": piece.played}
                )
            yield _line(line)
    yield _line({"verdict": compared([played[column] for column in COLUMNS if column in played])})


def _line(line: dict[str, str]) -> bytes:
    return json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


async def _page(request: HttpRequest, question: Question, **more: Any) -> HttpResponseBase:
    names, tenants = await asyncio.gather(models_to_name(), sync_to_async(_tenants)(reach(request)))
    played = more.get("played", {})
    context = {
        "here": "playground",
        "question": question,
        "columns": [
            {"name": column, "model": question.models.get(column, ""), "played": played.get(column)}
            for column in COLUMNS
        ],
        "verdict": compared(list(played.values())),
        "names": sorted({AUTO.name, *(name for name in names or () if not name.endswith("/*"))})[:MOST_NAMES],
        "tenants": tenants,
        "chosen": question.tenant or next((str(number) for number, name in tenants if name == DEFAULT_TENANT), ""),
        "most_tokens": MOST_TOKENS,
        **more,
    }
    return await page(request, "dashboard/playground.html", context, status=422 if more.get("faults") else 200)


def _tenants(whose: Reach) -> list[tuple[int, str]]:
    rows = Tenant.objects.filter(suspended_at=None).order_by("name")
    if whose.tenants is not None:
        rows = rows.filter(pk__in=whose.tenants)
    return list(rows.values_list("pk", "name")[:MOST_TENANTS])


def _caller(number: str, whose: Reach) -> Caller | None:
    """Whoever asks for that tenant; None where it is not in reach, or suspended."""
    wanted = whole(number)
    if wanted is None or (whose.tenants is not None and wanted not in whose.tenants):
        return None
    tenant = Tenant.objects.filter(pk=wanted).first()
    return keyless(tenant) if tenant else None


def _asked(number: int, whose: Reach) -> RequestRecord | None:
    return RequestRecord.objects.of(whose).filter(pk=number).first()
