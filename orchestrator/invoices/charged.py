"""What was charged here for a provider's calls, as its accounts have it: by day of UTC and model, or call by call."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, Max, Q, Sum

from orchestrator.core.permissions import EVERYBODY
from orchestrator.invoices.calls import LATE, Here
from orchestrator.invoices.compared import Place
from orchestrator.invoices.sums import MICRO, Sums
from orchestrator.models import Charge, SpendDay

_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens")
_DAY = timedelta(days=1)


def by_day(provider: str, first: date, last: date) -> tuple[dict[Place, Sums], dict[Place, Sums]]:
    """By day and model: all of it, and what was begun just before the end of the day."""
    whole: dict[Place, Sums] = {}
    late: dict[Place, Sums] = {}
    day = first
    while day <= last:
        end = _midnight(day) + _DAY
        for found, begin in ((whole, _midnight(day)), (late, end - LATE)):
            found |= {(day, model): sums for model, sums in _by_model(provider, begin, end)}
        day += _DAY
    return whole, late


def kept_from(provider: str, first: date, last: date) -> date | None:
    """The day from which on its charges are kept, where some of earlier days are gone; None: none of these days' are.

    Charges go after a while, and the sums of days stay: they tell of which days there were any.
    """
    within = Q(at__gte=_midnight(first), at__lt=_midnight(last) + _DAY)
    kept = Charge.objects.of(EVERYBODY).filter(within, provider=provider)
    oldest = kept.order_by("at").values_list("at", flat=True).first()
    summed = SpendDay.objects.of(EVERYBODY).filter(provider=provider, day__gte=first, day__lte=last, calls__gt=0)
    if oldest is not None:
        summed = summed.filter(day__lt=oldest.astimezone(UTC).date())
    gone: date | None = summed.aggregate(last=Max("day"))["last"]
    return None if gone is None else gone + _DAY


def calls(provider: str, first: date, last: date) -> Iterator[Here]:
    """Each of them, from just before the first day on; those without the provider's name of it, too."""
    rows = (
        Charge.objects.of(EVERYBODY)
        .filter(provider=provider, at__gte=_midnight(first) - LATE, at__lt=_midnight(last) + _DAY)
        .order_by("at")
        .values_list("provider_ref", "request_id", "at", "model", "cost_microusd", "is_estimated", *_TOKENS)
    )
    for ref, request_id, at, model, cost, is_estimated, *tokens in rows.iterator():
        sums = _sums(model, 1, cost, int(is_estimated), int(cost is None), dict(zip(_TOKENS, tokens, strict=True)))
        yield Here(ref, request_id, at.astimezone(UTC), model, sums)


def _by_model(provider: str, begin: datetime, end: datetime) -> Iterator[tuple[str, Sums]]:
    rows = (
        Charge.objects.of(EVERYBODY)
        .filter(provider=provider, at__gte=begin, at__lt=end)
        .order_by()
        .values("model")
        .annotate(
            entries=Count("pk"),
            priced=Count("cost_microusd"),
            estimated=Count("pk", filter=Q(is_estimated=True)),
            cost=Sum("cost_microusd"),
            prompt=Sum("prompt_tokens"),
            completion=Sum("completion_tokens"),
            cached=Sum("cached_tokens"),
            written=Sum("cache_write_tokens"),
        )
    )
    for row in rows:
        tokens = dict(zip(_TOKENS, (row["prompt"], row["completion"], row["cached"], row["written"]), strict=True))
        unpriced = row["entries"] - row["priced"]
        yield row["model"], _sums(row["model"], row["entries"], row["cost"], row["estimated"], unpriced, tokens)


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
