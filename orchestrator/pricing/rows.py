"""Prices as they are kept for good: a row for each that a call could be charged by, found again by all that it says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from decimal import Decimal
from typing import Any

from django.db.models import F
from django.utils import timezone

from orchestrator.core.prices import Price, Rates, plain
from orchestrator.models import PriceRow

MOST_NAMED = 500  # rows in one query
PARTS = ("input", "output", "cache_read", "cache_write", "cache_write_1h")


def numbered(prices: Sequence[tuple[str, str, Price]]) -> list[Price]:
    """These prices with the numbers of their rows, which are written where there are none yet.

    prices  provider, model as that calls it, and price.

    Processes that write the same at once come to the same row.
    """
    rows = [_row(*one) for one in prices]
    numbers = _numbers(rows)
    new = {row.digest: row for row in rows if row.digest not in numbers}
    if new:
        PriceRow.objects.bulk_create(new.values(), ignore_conflicts=True)
        numbers |= _numbers(list(new.values()))
    return [replace(price, number=numbers[row.digest]) for row, (_, _, price) in zip(rows, prices, strict=True)]


def kept(prices: Sequence[tuple[str, str, Price]]) -> list[PriceRow | None]:
    """The rows of prices; None where one was never used."""
    digests = [_row(*one).digest for one in prices]
    rows = {row.digest: row for row in _found(digests) if row.last_used_at is not None}
    return [rows.get(digest) for digest in digests]


def last_listed(source: str) -> dict[tuple[str, str], Price]:
    """The price by a source that was used last, of each provider and model, the latter in lower case.

    Where none was used yet it is the newest.
    """
    rows = PriceRow.objects.filter(source=source).order_by(F("last_used_at").asc(nulls_first=True), "id").iterator()
    return {(row.provider, row.model.lower()): price_in(row) for row in rows}


def price_in(row: PriceRow) -> Price:
    """The price that a row keeps."""
    first, *longer = (_rates(one) for one in row.rates)
    return Price(
        input=first.input,
        output=first.output,
        cache_read=first.cache_read,
        cache_write=first.cache_write,
        cache_write_1h=first.cache_write_1h,
        longer=tuple(longer),
        source=row.source,
        number=row.pk,
    )


def _rates(told: Mapping[str, Any]) -> Rates:
    return Rates(above=told.get("above", 0), **{part: Decimal(told[part]) for part in PARTS if part in told})


def _row(provider: str, model: str, price: Price) -> PriceRow:
    rates = [_told(asdict(one)) for one in price.rates]
    said = json.dumps([provider, model, price.source, rates], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(said.encode()).hexdigest()
    return PriceRow(
        provider=provider,
        model=model,
        source=price.source,
        digest=digest,
        rates=rates,
        first_used_at=timezone.now(),
    )


def _numbers(rows: Sequence[PriceRow]) -> dict[str, int]:
    return {row.digest: row.pk for row in _found([row.digest for row in rows])}


def _found(digests: Iterable[str]) -> Iterator[PriceRow]:
    """Those that are there, in a query for each `MOST_NAMED`."""
    wanted = sorted(set(digests))
    for at in range(0, len(wanted), MOST_NAMED):
        yield from PriceRow.objects.filter(digest__in=wanted[at : at + MOST_NAMED])


def _told(rates: Mapping[str, Any]) -> dict[str, Any]:
    """Rates as text, each number in one form only; what is not set is left out."""
    told: dict[str, Any] = {part: plain(rates[part]) for part in PARTS if rates[part] is not None}
    return told | ({"above": rates["above"]} if rates["above"] else {})
