"""Providers' accounts: which there are, reading one in, and how it differs from what is recorded here."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST, require_safe

from dashboard.access import page_now
from orchestrator.core.errors import BadRequest, NotThere, OrchestratorError, RequestTooLarge
from orchestrator.identity import acting
from orchestrator.identity.acting import Actor
from orchestrator.invoices import keeping, telling
from orchestrator.invoices.account import MOST_BYTES
from orchestrator.invoices.comparison import Comparison, compare
from orchestrator.invoices.forms import FORMS, read
from orchestrator.models import UsageImport

MOST_ROWS = 200
Context = dict[str, Any]


@require_safe
def invoices(request: HttpRequest) -> HttpResponse:
    """Those that are kept, newest first."""
    return _list(request)


@require_POST
def bring(request: HttpRequest) -> HttpResponse:
    """Read one in, and show how it differs."""
    try:
        kept = _keep(request)
    except OrchestratorError as error:
        return _list(request, {"fault": str(error), "typed": request.POST}, error.status)
    taken = f" It took {', '.join(kept.replaced)}." if kept.replaced else ""
    messages.success(request, f"The account is imported, with {kept.lines:,} lines.{taken}")
    return redirect("dashboard:invoice", kept.account.pk)


@require_safe
def invoice(request: HttpRequest, number: int) -> HttpResponse:
    """One of them beside what was charged."""
    row = _found(request, number)
    try:
        found = _compared(request, row)
    except BadRequest as error:
        context = {"here": "costs", "account": row, "form": FORMS[row.form], "fault": str(error)}
        return page_now(request, "dashboard/invoice.html", context, error.status)
    rows = list(telling.differing(found))
    context = {
        "here": "costs",
        "account": row,
        "form": FORMS[row.form],
        "found": found,
        "verdict": telling.verdict(found),
        "totals": telling.compared(found)["totals"],
        "days": [one for one in rows if not one["call"]],
        "calls": [one for one in rows if one["call"]],
        "most": MOST_ROWS,
        "is_part": (found.first_day, found.last_day) != (row.first_day, row.last_day),
    }
    return page_now(request, "dashboard/invoice.html", context)


@require_safe
def invoice_csv(request: HttpRequest, number: int) -> HttpResponse:
    """All of it as a table."""
    try:
        found = _compared(request, _found(request, number))
    except BadRequest as error:
        return HttpResponse(f"{error}\n", status=error.status, content_type="text/plain")
    response = HttpResponse(telling.as_csv(found), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="invoice-{number}.csv"'
    return response


@require_POST
def delete(request: HttpRequest, number: int) -> HttpResponse:
    """Forget one."""
    row = _found(request, number)
    keeping.delete(_actor(request), row.pk)
    messages.success(request, f"The account of {row.provider}, {row.first_day} to {row.last_day}, is deleted.")
    return redirect("dashboard:invoices")


def _keep(request: HttpRequest) -> keeping.Kept:
    file = request.FILES.get("file")
    if not isinstance(file, UploadedFile):
        raise BadRequest("Choose a file.")
    if (file.size or 0) > MOST_BYTES:
        raise RequestTooLarge(f"A file may have {MOST_BYTES // 1024**2} MB at most; export a shorter time.")
    content = file.read()
    typed = request.POST
    account = read(content, typed.get("form") or None, _day(typed.get("first", "")), _day(typed.get("last", "")))
    provider = typed.get("provider", "").strip() or FORMS[account.form].provider
    return keeping.keep(
        _actor(request), account, content, provider, file.name or "", replaces=typed.get("replace") == "yes"
    )


def _list(request: HttpRequest, more: Context | None = None, status: int = 200) -> HttpResponse:
    rows = list(keeping.invoices(_actor(request))[:MOST_ROWS])
    found = telling.accounts(rows)
    context = {
        "here": "costs",
        "found": [one | {"first": row.first_day, "last": row.last_day} for one, row in zip(found, rows, strict=True)],
        "forms": list(FORMS.values()),
        "most_mb": MOST_BYTES // 1024**2,
    }
    return page_now(request, "dashboard/invoices.html", context | (more or {}), status)


def _compared(request: HttpRequest, row: UsageImport) -> Comparison:
    return compare(row, _day(request.GET.get("first", "")), _day(request.GET.get("last", "")))


def _found(request: HttpRequest, number: int) -> UsageImport:
    try:
        return keeping.find(_actor(request), number)
    except NotThere:
        raise Http404 from None


def _day(typed: str) -> date | None:
    if not typed.strip():
        return None
    try:
        return date.fromisoformat(typed.strip())
    except ValueError:
        raise BadRequest("A day is written as in 2026-03-01.") from None


def _actor(request: HttpRequest) -> Actor:
    return acting.of_user(request.user)
