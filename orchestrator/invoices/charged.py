"""What was charged here for a provider's calls, as its accounts have it: by day of UTC and model, or call by call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum

from orchestrator.core.permissions import EVERYBODY
from orchestrator.invoices.calls import LATE, Here
from orchestrator.invoices.compared import Place
from orchestrator.invoices.sums import MICRO, Sums
from orchestrator.models import Charge, SpendDay

_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens")
_ADDED = {
    "cost": Sum("cost_microusd"),
    "prompt": Sum("prompt_tokens"),
    "completion": Sum("completion_tokens"),
    "cached": Sum("cached_tokens"),
    "written": Sum("cache_write_tokens"),
}
_DAY = timedelta(days=1)


def by_day(provider: str, first: date, last: date) -> tuple[dict[Place, Sums], dict[Place, Sums]]:
    """By day and model: all of it, and what was begun just before the end of the day.

    Whole days are those that were added up when their charges were written, so that millions of these are not read.
    Days whose charges are gone are left out: nobody knows what of them went over midnight.
    """
    whole = _by_sums(provider, kept_from(provider, first, last) or first, last)
    late: dict[Place, Sums] = {}
    for day in _days(first, last):
        end = _midnight(day) + _DAY
        late |= {(day, model): sums for model, sums in _by_model(provider, end - LATE, end)}
        for model, count in _estimated(provider, _midnight(day), end):
            if sums := whole.get((day, model)):
                sums.estimated = count
    return whole, late


def kept_from(provider: str, first: date, last: date) -> date | None:
    """The day from which on its charges are kept, where some of earlier days are gone; None: none of these days' are.

    Charges go after a while, the oldest days first, and the sums of days stay: they tell of which days there were any.
    """
    gone: date | None = None
    for day in _summed(provider, first, last).values_list("day", flat=True).distinct().order_by("day"):
        if _charged(provider, _midnight(day), _midnight(day) + _DAY).exists():
            break
        gone = day
    return None if gone is None else gone + _DAY


def calls(provider: str, first: date, last: date) -> Iterator[Here]:
    """Each of them, from just before the first day on; those without the provider's name of it, too."""
    rows = (
        _charged(provider, _midnight(first) - LATE, _midnight(last) + _DAY)
        .order_by("at")
        .values_list("provider_ref", "request_id", "at", "model", "cost_microusd", "is_estimated", *_TOKENS)
    )
    for ref, request_id, at, model, cost, is_estimated, *tokens in rows.iterator():
        sums = _sums(model, 1, cost, int(is_estimated), int(cost is None), dict(zip(_TOKENS, tokens, strict=True)))
        yield Here(ref, request_id, at.astimezone(UTC), model, sums)


def _by_sums(provider: str, first: date, last: date) -> dict[Place, Sums]:
    rows = _summed(provider, first, last).order_by().values("day", "model")
    return {
        (row["day"], row["model"]): _of_group(row)
        for row in rows.annotate(entries=Sum("calls"), without_price=Sum("unpriced"), **_ADDED)
    }


def _by_model(provider: str, begin: datetime, end: datetime) -> Iterator[tuple[str, Sums]]:
    counted = {"entries": Count("pk"), "without_price": Count("pk", filter=Q(cost_microusd=None))}
    rows = _charged(provider, begin, end).order_by().values("model").annotate(**counted, **_ADDED)
    for row in rows:
        yield row["model"], _of_group(row)


def _estimated(provider: str, begin: datetime, end: datetime) -> list[tuple[str, int]]:
    """How many of each model were not counted by who had them. The index of those alone has it all."""
    rows = _charged(provider, begin, end).filter(is_estimated=True).order_by().values("model")
    return list(rows.annotate(count=Count("model")).values_list("model", "count"))


def _charged(provider: str, begin: datetime, end: datetime) -> QuerySet[Charge]:
    return Charge.objects.of(EVERYBODY).filter(provider=provider, at__gte=begin, at__lt=end)


def _summed(provider: str, first: date, last: date) -> QuerySet[SpendDay]:
    """The days on which anything was charged."""
    return SpendDay.objects.of(EVERYBODY).filter(provider=provider, day__gte=first, day__lte=last, calls__gt=0)


def _of_group(row: Mapping[str, Any]) -> Sums:
    tokens = dict(zip(_TOKENS, (row["prompt"], row["completion"], row["cached"], row["written"]), strict=True))
    return _sums(row["model"], row["entries"], row["cost"], 0, row["without_price"], tokens)


def _sums(
    model: str, entries: int, microusd: int | None, estimated: int, unpriced: int, tokens: dict[str, Any]
) -> Sums:
    return Sums(
        cost_usd=(microusd or 0) * MICRO,
        requests=entries,
        entries=entries,
        estimated=estimated,
        unpriced=unpriced,
        names={model},
        **tokens,
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _days(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += _DAY
