"""The rows of prices that charges were booked by."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Max, Q

from orchestrator.models import PriceRow

MOST_ROWS = 2_000


def rows_of(numbers: Iterable[int]) -> dict[int, PriceRow]:
    """The newest row of each model, and those of `numbers` besides, by number; the newest first. One query."""
    newest = PriceRow.objects.order_by().values("provider", "model").annotate(newest=Max("pk")).values("newest")
    rows = PriceRow.objects.filter(Q(pk__in=newest) | Q(pk__in=set(numbers))).order_by("-pk")[:MOST_ROWS]
    return {row.pk: row for row in rows}


def name_of(row: PriceRow) -> str:
    """The model's full name, as charges have it."""
    return f"{row.provider}/{row.model}"
