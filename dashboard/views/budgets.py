"""Budgets: how each burns down, and making, raising, lowering and deleting them."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponseBase
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dashboard import formats
from dashboard.access import page, reach, roles
from dashboard.acting import NOTHING_WRONG, acted, faults_of, looked
from dashboard.costs import charts as cost_charts
from dashboard.costs.verdict import shown_name
from dashboard.keys import forms
from dashboard.keys.budgets import OneBudget, read_budget, read_budgets
from dashboard.reading import reader
from dashboard.unread import said_when_unread
from dashboard.views.overview import read
from orchestrator.budgeting import rows
from orchestrator.core.budgets import EACH_OF, PERIODS
from orchestrator.core.dollars import dollars
from orchestrator.core.errors import Conflict, Forbidden, OrchestratorError
from orchestrator.core.permissions import EVERYBODY, Permission, reach_of
from orchestrator.identity.acting import Actor
from orchestrator.ledger.pace import About, uses
from orchestrator.models import Budget

CONFIRMED = "lower"


class _WouldRefuseAll(Exception):
    """A switch would have every call refused that costs money, and who asks has not been told so."""

    def __init__(self, spent: int) -> None:
        super().__init__(spent)
        self.spent = spent  # millionths of a dollar


@require_safe
async def budgets(request: HttpRequest) -> HttpResponseBase:
    """All of them, the worst first."""
    whose, now = reach(request), timezone.now()
    found = await read(reader.run(lambda: read_budgets(whose, now)))
    return await page(request, "dashboard/budgets.html", {"here": "keys", "found": found})


@require_safe
@said_when_unread
async def budget(request: HttpRequest, number: int) -> HttpResponseBase:
    """One of them."""
    return await _one(request, number)


@require_http_methods(["GET", "HEAD", "POST"])
@said_when_unread
async def new(request: HttpRequest) -> HttpResponseBase:
    """Set a budget. It counts what its period has seen already."""
    typed, faults = forms.typed(request.GET), NOTHING_WRONG
    if request.method == "POST":
        typed = forms.typed(request.POST)
        try:
            asked = forms.budget_asked(typed)
            before = await looked(request, lambda by: rows.sum_before_made(by, asked))
            row = await acted(request, lambda by: rows.make(by, asked, before))
        except OrchestratorError as error:
            faults = faults_of(error, forms.BUDGET_FIELDS)
        else:
            messages.success(request, f"{row.name} holds from now on, with what its period has spent already.")
            return redirect("dashboard:budget", row.pk)
    context = {
        "here": "keys",
        "typed": typed,
        "faults": faults,
        "periods": PERIODS,
        "eachs": EACH_OF,
        "for_every": reach(request).tenants is None,
    }
    return await page(request, "dashboard/budget_new.html", context, status=422 if faults else 200)


@require_POST
@said_when_unread
async def change(request: HttpRequest, number: int) -> HttpResponseBase:
    """Set another amount, or switch it. Where all that costs money is refused by then it takes a second word.

    Who has an amount before them that is another by now is told so, and nothing is changed.
    """
    row = await sync_to_async(_found)(request, number)
    typed = forms.typed(request.POST)
    try:
        asked, seen = forms.budget_change(typed), forms.budget_seen(typed)
        is_sure = typed.get("sure") == CONFIRMED
        if "amount_usd" in asked.given and asked.amount_usd < row.amount_microusd and not is_sure:
            spent = await sync_to_async(_most_spent)(request, number)
            if asked.amount_usd <= spent:
                more = {"typed": typed, "lowers": asked.amount_usd, "spent": spent}
                return await _one(request, number, more, 422)
        before = await looked(request, lambda by: rows.sum_before_changed(by, row.name, asked))

        def make(by: Actor) -> Budget:
            changed = rows.change(by, row.name, asked, before, seen)
            if not is_sure and _binds(changed) and not _binds(row):
                spent = _most_spent(request, number)  # by now, with what is counted anew by a switch
                if spent >= changed.amount_microusd:
                    raise _WouldRefuseAll(spent)  # which takes the change back
            return changed

        changed = await acted(request, make)
    except _WouldRefuseAll as would:
        return await _one(request, number, {"typed": typed, "would_refuse": True, "spent": would.spent}, 422)
    except OrchestratorError as error:
        status = error.status if isinstance(error, Conflict) else 422
        return await _one(request, number, {"typed": typed, "faults": faults_of(error, forms.BUDGET_FIELDS)}, status)
    messages.success(request, _said(row, changed))
    return redirect("dashboard:budget", number)


@require_http_methods(["GET", "HEAD", "POST"])
@said_when_unread
async def delete(request: HttpRequest, number: int) -> HttpResponseBase:
    """GET says what goes with it; POST deletes it."""
    row = await sync_to_async(_found)(request, number)
    faults = NOTHING_WRONG
    if request.method == "POST":
        try:
            await acted(request, lambda by: rows.delete(by, row.name))
        except OrchestratorError as error:
            faults = faults_of(error, ())
        else:
            messages.success(request, f"Budget {row.name} is gone, with what was counted under it.")
            return redirect("dashboard:budgets")
    context = {"here": "keys", "budget": row, "faults": faults, "typed": forms.typed(request.POST)}
    return await page(request, "dashboard/budget_delete.html", context, status=422 if faults else 200)


async def _one(
    request: HttpRequest, number: int, more: dict[str, Any] | None = None, status: int = 200
) -> HttpResponseBase:
    whose, now = reach_of(roles(request), Permission.SEE_BUDGETS), timezone.now()
    audit = reach_of(roles(request), Permission.SEE_AUDIT)
    mine = f"user:{request.user.get_username()}"
    found = await reader.run(lambda: read_budget(number, whose, audit, mine, now, request.GET.get("of", "")[:255]))
    if found is None:
        raise Http404
    context = {
        "here": "keys",
        "found": found,
        "budget": found.row,
        "use": found.use,
        **_drawn(found),
        "may_change": may_change(request, found.row),
        "amount": dollars(found.row.amount_microusd),
        "verdict": _verdict(found),
    }
    return await page(request, "dashboard/budget.html", context | (more or {}), status)


def _drawn(found: OneBudget) -> dict[str, Any]:
    """How it burns down, where anything is counted."""
    use = found.use
    if use is None:
        return {}
    return {
        "burn": cost_charts.burn_down(use, found.burnt),
        "lasts_until": use.used_up_at or cost_charts.lasts_until(use, found.burnt),
        "unbooked": use.here - sum(found.burnt.values()) if use.ends is not None else 0,
    }


def may_change(request: HttpRequest, row: Budget) -> bool:
    """Whether who asks may change it, as `rows.change` has it."""
    changes = reach_of(roles(request), Permission.CHANGE_BUDGETS)
    if changes == EVERYBODY:
        return True
    is_theirs = row.tenant_id is not None and row.tenant_id in changes  # type: ignore[comparison-overlap]
    return is_theirs and not row.is_given and (row.team_id is not None or row.key_id is not None)


def _found(request: HttpRequest, number: int) -> Budget:
    by = Actor(name="", roles=roles(request))
    try:
        row = rows.seen(by, Permission.SEE_BUDGETS).filter(pk=number).first()
    except Forbidden:
        row = None
    if row is None:
        raise Http404
    return row


def _binds(row: Budget) -> bool:
    """Whether it refuses what goes beyond it."""
    return row.is_hard and not row.is_off


def _most_spent(request: HttpRequest, number: int) -> int:
    """What is spent of it by now; of those that it counts apart, the most."""
    whose = reach_of(roles(request), Permission.SEE_BUDGETS)
    return max((use.spent for use in uses(whose, timezone.now(), About(Q(pk=number))).rows), default=0)


def _said(before: Budget, after: Budget) -> str:
    if before.is_off != after.is_off:
        return f"{after.name} is off and counts nothing." if after.is_off else f"{after.name} counts again."
    if before.is_hard != after.is_hard:
        does = "refuses what goes beyond it" if after.is_hard else "refuses nothing, and tells when it is used up"
        return f"{after.name} {does}, from the next call on."
    if after.amount_microusd == before.amount_microusd:
        return f"{after.name} is as it was."
    was, now = formats.money(before.amount_microusd), formats.money(after.amount_microusd)
    verb = "raised" if after.amount_microusd > before.amount_microusd else "lowered"
    return f"{after.name} is {verb} from {was} to {now}, from the next call on."


def _verdict(found: OneBudget) -> str:
    use, row = found.use, found.row
    if row.is_off:
        return f"{row.name} is off."
    if use is None:
        return f"Nothing is spent of {row.name}."
    name = shown_name(use)
    if use.is_used_up:
        return f"{name} is used up: {formats.money(use.spent)} of {formats.money(use.amount)}."
    share = formats.percent(use.spent / use.amount if use.amount else None)
    if use.state == "slow":
        return f"{name}: {share}{formats.NARROW}% spent, on course for {formats.money(use.projected)}."
    return f"{name}: {share}{formats.NARROW}% spent."
