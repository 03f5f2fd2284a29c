"""Who changed what: found, read as a difference, verified, and taken along as a file."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from datetime import date
from typing import Any

from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from dashboard import auditing, formats
from dashboard.access import page, reach
from dashboard.auditing import LOOK_S, MOST_LINES, Asked, Events
from dashboard.reading import reader
from dashboard.unread import said_when_unread
from dashboard.views.keys import tenants_of
from dashboard.views.overview import read
from orchestrator.audit import KINDS, Looked
from orchestrator.core.numbers import whole
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.redaction import redacted
from orchestrator.ledger import spreadsheet

MOST_TEXT = 100  # characters that are looked for
AS_WRITTEN = "The events are as they were written."
CSV = "text/csv; charset=utf-8"
SEEN, SEEN_S = "audit.seen", 600  # what seals how far was looked, and how long that holds


@require_safe
async def audit(request: HttpRequest) -> HttpResponseBase:
    """Events that match, the newest first."""
    asked, whose, faults = _asked(request), reach(request), _faults(request)
    found = await read(reader.run(lambda: auditing.read_events(asked, whose)))
    tenants = await read(reader.run(lambda: tenants_of(whose)))
    context = {
        "here": "audit",
        "asked": asked,
        "faults": faults,
        "found": found,
        "headline": _headline(found, for_all=whose == EVERYBODY),
        "kinds": KINDS,
        "tenants": tenants or [],
        "query": urlencode(_narrowed(asked)),
    }
    return await page(request, "dashboard/audit.html", context, status=422 if faults else 200)


@require_safe
@said_when_unread
async def event(request: HttpRequest, number: int) -> HttpResponseBase:
    """One event, with what was before and after."""
    whose = reach(request)
    row = await reader.run(lambda: auditing.read_event(number, whose))
    if row is None:
        raise Http404
    return await page(request, "dashboard/audit_event.html", {"here": "audit", "row": row, "event": row.event})


@require_safe
async def verify(request: HttpRequest) -> HttpResponseBase:
    """Look at the chain for a moment; where that was not all, the page goes on by itself, or a link does."""
    after = _number(request, "after") or 0
    ends = time.monotonic() + LOOK_S
    looked = await read(reader.run(lambda: auditing.look(after, lambda: time.monotonic() > ends)))
    if looked is not None and _was_seen(request, after):
        looked = looked._replace(first=1)
    for_all = reach(request) == EVERYBODY
    context = {
        "here": "audit",
        "looked": looked,
        "headline": _verified(looked, for_all=for_all),
        "for_all": for_all,
        "on_at": _on_from(looked),
    }
    return await page(request, "dashboard/audit_verify.html", context)


def _on_from(looked: Looked | None) -> str:
    """The address at which it goes on; it says, sealed, that all before was looked at, when it was."""
    if looked is None or looked.is_over:
        return ""
    asked: dict[str, str | int] = {"after": looked.last}
    if looked.first == 1:
        asked["seen"] = signing.dumps(looked.last, salt=SEEN)
    return f"?{urlencode(asked)}"


def _was_seen(request: HttpRequest, after: int) -> bool:
    """Whether every event up to `after` was looked at just before, by this product: nobody's address says so else."""
    try:
        return bool(signing.loads(request.GET.get("seen", ""), salt=SEEN, max_age=SEEN_S) == after)
    except signing.BadSignature:
        return False


@require_safe
async def audit_csv(request: HttpRequest) -> HttpResponseBase:
    """The events that match as CSV, as many as a file is to have; then where the rest begins.

    A filter that cannot be read is refused.
    """
    asked, whose = _asked(request), reach(request)
    if faults := _faults(request):
        said = " ".join(["Nothing was exported.", *faults])
        return HttpResponse(f"{said}\n", status=422, content_type="text/plain; charset=utf-8")

    async def lines() -> AsyncGenerator[bytes, None]:
        yield spreadsheet.written([list(auditing.columns())])
        before, count = asked.before, 0
        while True:
            found, following = await reader.run(lambda at=before: auditing.for_file(asked, whose, at))  # type: ignore[misc]
            yield spreadsheet.written(found)
            count += len(found)
            if following is None:
                return
            if count >= MOST_LINES:
                yield spreadsheet.cut(count, following)
                return
            before = following

    response = StreamingHttpResponse(lines(), content_type=CSV)
    response["Content-Disposition"] = 'attachment; filename="audit.csv"'
    return response


def _headline(found: Events | None, *, for_all: bool) -> str:
    if found is None:
        return "Who changed what could not be read."
    if found.chain.broken is not None:
        return f"Event {found.chain.broken.number} is not as it was written."
    if not for_all:  # how many there are of others' is not theirs to know
        return AS_WRITTEN
    if not found.newest:
        return "Nothing was changed yet."
    if found.chain.first == 1:
        count = found.newest
        return (
            "One event, as it was written."
            if count == 1
            else f"All {formats.count(count)} events are as they were written."
        )
    return f"The newest {formats.count(found.newest - found.chain.first + 1)} events are as they were written."


def _verified(looked: Looked | None, *, for_all: bool) -> str:
    if looked is None:
        return "The chain could not be looked at in time."
    if looked.broken is not None:
        return f"Event {looked.broken.number} is not as it was written."
    if not for_all:
        return AS_WRITTEN if looked.is_over else "As far as was looked, the events are as they were written."
    if looked.last < looked.first:
        return "There is no event." if looked.first == 1 else f"There is no event after {formats.count(looked.last)}."
    if looked.first == 1 and looked.is_over:
        return f"All {formats.count(looked.last)} events are as they were written."
    return f"Events {formats.count(looked.first)} to {formats.count(looked.last)} are as they were written."


def _asked(request: HttpRequest) -> Asked:
    text = {name: redacted(request.GET.get(name, "").strip()[:MOST_TEXT]) for name in ("who", "did", "about")}
    return Asked(
        **text,
        tenant=_number(request, "tenant"),
        first=_day(request, "from"),
        last=_day(request, "to"),
        before=_number(request, "before"),
        after=_number(request, "after"),
    )


def _faults(request: HttpRequest) -> list[str]:
    """What was asked for and cannot be read, in words."""
    days = [name for name in ("from", "to") if request.GET.get(name) and _day(request, name) is None]
    faults = [f"{name}: write a day like 2026-01-31." for name in days]
    if request.GET.get("tenant") and _number(request, "tenant") is None:
        faults.append("tenant: write the number that its page has in its address.")
    return faults


def _narrowed(asked: Asked) -> dict[str, Any]:
    found = {
        "who": asked.who,
        "did": asked.did,
        "about": asked.about,
        "tenant": asked.tenant,
        "from": asked.first,
        "to": asked.last,
    }
    return {name: value for name, value in found.items() if value}


def _day(request: HttpRequest, name: str) -> date | None:
    try:
        found = date.fromisoformat(request.GET.get(name, ""))
    except ValueError:
        return None
    return found if date(2000, 1, 1) <= found <= date(9000, 1, 1) else None


def _number(request: HttpRequest, name: str) -> int | None:
    return whole(request.GET.get(name, ""))
