"""/api/admin/v1/invoices: what providers say was used, and how it differs from what is recorded here."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from ninja import Path, Query, Router
from pydantic import BaseModel, Field

from orchestrator.api.managing import LONGEST_NAME, Limit, acted, threaded, told
from orchestrator.identity.acting import Actor
from orchestrator.invoices import keeping, telling
from orchestrator.invoices.comparison import Comparison, compare
from orchestrator.invoices.forms import FORMS, read

router = Router(tags=["Management"])
Number = Annotated[int, Path(ge=1, le=2**63 - 1)]
FILE = {"schema": {"type": "string"}}


class Asked(BaseModel):
    """What a file is."""

    provider: str | None = Field(
        None, max_length=40, description="By its name here. Unset: as the form's is called, where it is one provider's."
    )
    form: str | None = Field(None, max_length=32, description=f"One of {', '.join(FORMS)}. Unset: it is recognised.")
    name: str = Field("", max_length=keeping.LONGEST_NAME, description="Of the file.")
    first_day: date | None = Field(None, description="From when it is, in UTC. Unset: from its first line on.")
    last_day: date | None = Field(None, description="Until when it is. Unset: its last line.")
    replace: bool = Field(False, description="Older accounts of the same kind give up the days that they have, too.")


class Days(BaseModel):
    """Which days are compared."""

    first_day: date | None = Field(None, description="Unset: the account's first.")
    last_day: date | None = Field(None, description="Unset: the account's last.")


@router.get("", summary="Providers' accounts")
async def invoices(
    request: HttpRequest,
    provider: Annotated[str | None, Query(None, max_length=LONGEST_NAME, description="Only of this one.")] = None,
    before: Annotated[int | None, Query(None, ge=1, le=2**63 - 1, description="`next` of the page before.")] = None,
    limit: Limit = 100,
) -> HttpResponseBase:
    """Those that are kept, newest first."""

    def find(by: Actor) -> list[dict[str, Any]]:
        return telling.accounts(list(keeping.invoices(by, provider=provider, before=before)[: limit + 1]))

    found = await acted(request, find)
    shown = found[:limit]
    return told({"invoices": shown, "next": shown[-1]["number"] if len(found) > limit else None})


@router.post(
    "",
    summary="Import a provider's account",
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The file, as the provider made it.",
            "content": {"application/json": {"schema": {}}, "text/csv": FILE},
        }
    },
)
async def bring(request: HttpRequest, query: Query[Asked]) -> HttpResponseBase:
    """Read a provider's export of costs or usage, and keep it: all of it, or nothing."""
    content = request.body
    account = await threaded(lambda: read(content, query.form, query.first_day, query.last_day))
    provider = query.provider or FORMS[account.form].provider

    def keep(by: Actor) -> dict[str, Any]:
        return telling.kept(keeping.keep(by, account, content, provider, query.name, replaces=query.replace))

    return told(await acted(request, keep))


@router.get("/{number}", summary="One account")
async def one(request: HttpRequest, number: Number) -> HttpResponseBase:
    """Whose it is, and what days it is about."""
    return told(await acted(request, lambda by: telling.accounts([keeping.find(by, number)])[0]))


@router.get("/{number}/differences", summary="How it differs from what is recorded")
async def differences(request: HttpRequest, number: Number, query: Query[Days]) -> HttpResponseBase:
    """By day and model, and call by call where the provider names them; each with its amounts and what is tolerated.

    The first 500 of either; the table as CSV has all.
    """
    return told(telling.compared(await _compared(request, number, query)))


@router.get("/{number}/differences.csv", summary="The same as a table")
async def differences_csv(request: HttpRequest, number: Number, query: Query[Days]) -> HttpResponseBase:
    """Each figure of each difference in a row."""
    found = await _compared(request, number, query)
    response = HttpResponse(telling.as_csv(found), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="invoice-{number}.csv"'
    response["Cache-Control"] = "no-store"
    return response


@router.delete("/{number}", summary="Delete an account")
async def delete(request: HttpRequest, number: Number) -> HttpResponseBase:
    """Forget what it said."""
    await acted(request, keeping.delete, number)
    return told({"deleted": True})


async def _compared(request: HttpRequest, number: int, days: Days) -> Comparison:
    return await acted(request, lambda by: compare(keeping.find(by, number), days.first_day, days.last_day))
