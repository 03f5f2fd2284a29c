"""Prices that were used, as they are kept, read back into prices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db.models import Max, Q

from orchestrator.core.prices import Price, Rates
from orchestrator.models import PriceRow

MOST_ROWS = 2_000


def price_of(row: PriceRow) -> Price | None:
    """The price that a row keeps; None where it cannot be read any more."""
    try:
        longer = tuple(
            Rates(above=int(rates["above"]), **_rates(rates))
            for rates in sorted(row.rates.get("longer") or (), key=lambda rates: int(rates["above"]))
        )
        return Price(**_rates(row.rates), longer=longer, source=row.source, number=row.pk)
    except (AttributeError, KeyError, TypeError, ValueError, InvalidOperation):
        return None


def rows_of(numbers: Iterable[int]) -> dict[int, PriceRow]:
    """The newest row of each model, and those of `numbers` besides, by number. One query."""
    newest = PriceRow.objects.order_by().values("provider", "model").annotate(newest=Max("pk")).values("newest")
    rows = PriceRow.objects.filter(Q(pk__in=newest) | Q(pk__in=set(numbers))).order_by("-pk")[:MOST_ROWS]
    return {row.pk: row for row in rows}


def name_of(row: PriceRow) -> str:
    """The model's full name, as charges have it."""
    return f"{row.provider}/{row.model}"


def _rates(kept: Mapping[str, Any]) -> dict[str, Any]:
    rates: dict[str, Any] = {name: Decimal(str(kept[name])) for name in ("input", "output")}
    for name in ("cache_read", "cache_write", "cache_write_1h"):
        rates[name] = None if kept.get(name) is None else Decimal(str(kept[name]))
    return rates
