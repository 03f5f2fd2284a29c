"""OpenRouter's activity: its export has a row for each call, its API one for each day, model and endpoint."""

from __future__ import annotations

from decimal import Decimal

from orchestrator.invoices.account import LONGEST_MODEL, LONGEST_REF, Line
from orchestrator.invoices.cells import Cells
from orchestrator.invoices.pages import Found

STANDARD = frozenset({"", "standard"})  # variants that a model's name does not say


def row(number: int, cells: Cells) -> Line:
    """A call. One that was broken off cost what had come of it."""
    ref = cells.text("generation_id", LONGEST_REF)
    if not ref:
        raise cells.wrong("generation_id", "is missing")
    model, variant = cells.text("model_permaslug", LONGEST_MODEL), cells.text("variant", LONGEST_MODEL)
    return Line(
        number=number,
        day=cells.day("created_at"),
        model=model if variant in STANDARD or ":" in model else f"{model}:{variant}"[:LONGEST_MODEL],
        ref=ref,
        requests=1,
        prompt_tokens=cells.count("tokens_prompt"),
        completion_tokens=cells.count("tokens_completion"),
        cached_tokens=cells.count("tokens_cached"),
        cost_usd=_with_vendors(cells, "cost_total"),
    )


def activity(number: int, place: str, one: Found, _: Found) -> Line:
    """What `/api/v1/activity` says of a day, a model and an endpoint."""
    cells = Cells(place, one)
    return Line(
        number=number,
        day=cells.day("date"),
        model=cells.text("model", LONGEST_MODEL) or cells.text("model_permaslug", LONGEST_MODEL),
        requests=cells.count("requests"),
        prompt_tokens=cells.count("prompt_tokens"),
        completion_tokens=cells.count("completion_tokens"),
        cost_usd=_with_vendors(cells, "usage"),
    )


def _with_vendors(cells: Cells, name: str) -> Decimal | None:
    """Its fee, and what a vendor took by one's own key: both are what the call cost."""
    fee, vendors = cells.usd(name), cells.usd("byok_usage_inference")
    return fee if vendors is None else vendors + (fee or 0)
