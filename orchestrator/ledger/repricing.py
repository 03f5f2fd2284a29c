"""What the same tokens would cost at other prices: on other models, and at the prices in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from django.db.models import Case, Count, IntegerField, Q, Sum, Value, When

from orchestrator.core.permissions import Reach
from orchestrator.core.prices import Price
from orchestrator.ledger.costs import Span, Sums, newest_charges
from orchestrator.models import Charge

MOST_MODELS = 500
SHORTEST = 0  # questions below every bound of a price for long ones


@dataclass(frozen=True, slots=True)
class Known:
    """A model whose price is known, by its full name."""

    provider: str
    model: str
    price: Price


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What all tokens of a period would have cost on one model."""

    known: Known
    microusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Repriced:
    """A model's charges as they were booked, and what the price in force says of their tokens."""

    provider: str
    model: str
    calls: int
    unpriced: int  # of them: booked without a cost
    booked_microusd: int
    now_microusd: int | None  # None: no price is known
    price: Price | None  # the one in force
    booked_by: tuple[int, ...]  # numbers of the prices they were booked by
    is_told: bool  # some costs are what the provider told of the call

    @property
    def difference(self) -> int | None:
        """What the price in force says beyond what was booked. Less than a millionth a call is rounding."""
        if self.now_microusd is None:
            return None
        found = self.now_microusd - self.booked_microusd
        return 0 if abs(found) <= self.calls and not self.unpriced else found


def elsewhere(tokens: Sums, known: Iterable[Known]) -> list[Elsewhere]:
    """The same tokens on each model, the cheapest first. Sums do not know how long single questions were.

    So the rates of short questions are taken; tokens read from or written to a cache are taken as read and written.
    """
    found = [Elsewhere(one, _rounded(next(one.price.rates).exactly(tokens))) for one in known]
    return sorted(found, key=lambda one: (one.microusd, one.known.model))


def repriced(span: Span, reach: Reach, known: Mapping[str, Price]) -> list[Repriced]:
    """The newest charges of a period by model, those that differ most first. One query.

    known  the prices in force, by the full names of models.

    Charges are summed apart by the bounds that any price has for long questions, so each bound is kept to exactly.
    """
    bounds = sorted({rates.above for price in known.values() for rates in price.longer})
    steps = [When(prompt_tokens__gt=bound, then=Value(bound)) for bound in reversed(bounds)]
    step = Case(*steps, default=Value(SHORTEST), output_field=IntegerField()) if steps else Value(SHORTEST)
    columns = {f"sum_{name}": Sum(name) for name in _TOKENS}
    rows = (
        newest_charges(span, reach)
        .annotate(step=step)
        .values("provider", "model", "price_id", "step")
        .annotate(
            calls=Count("pk"),
            unpriced=Count("pk", filter=Q(cost_microusd=None)),
            told=Count("pk", filter=Q(source=Charge.Source.TOLD)),
            booked=Sum("cost_microusd"),
            **columns,
        )
        .order_by("-booked", "model")[: MOST_MODELS * 4]
    )
    by_model: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        by_model.setdefault((row["provider"], row["model"]), []).append(row)
    found = [_repriced(provider, model, parts, known.get(model)) for (provider, model), parts in by_model.items()]
    return sorted(found, key=lambda one: (one.difference is None, -abs(one.difference or 0), -one.booked_microusd))


_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "cache_write_1h_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tokens:
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    cache_write_1h_tokens: int


def _repriced(provider: str, model: str, rows: Sequence[Mapping[str, Any]], price: Price | None) -> Repriced:
    def total(name: str) -> int:
        return sum(row[name] or 0 for row in rows)

    exact = Decimal(0)
    for row in rows if price is not None else ():
        tokens = _Tokens(**{name: row[f"sum_{name}"] or 0 for name in _TOKENS})
        step = row["step"]
        rates = [rates for rates in price.rates if rates.above <= step]  # type: ignore[union-attr]  # see above
        exact += rates[-1].exactly(tokens)
    return Repriced(
        provider=provider,
        model=model,
        calls=total("calls"),
        unpriced=total("unpriced"),
        booked_microusd=total("booked"),
        now_microusd=None if price is None else _rounded(exact),
        price=price,
        booked_by=tuple(sorted({row["price_id"] for row in rows if row["price_id"] is not None})),
        is_told=bool(total("told")),
    )


def _rounded(exact: Decimal) -> int:
    return int(exact.to_integral_value(ROUND_HALF_UP))
