"""What the pages of costs are made of: read for somebody, in few queries, however much was spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from django.db import close_old_connections

from dashboard.costs.periods import Chosen
from dashboard.running import Sold
from orchestrator.core.permissions import EVERYBODY, Reach
from orchestrator.core.prices import Price
from orchestrator.ledger import costs
from orchestrator.ledger.costs import By, Group, Groups, Sums
from orchestrator.ledger.pace import Use, spent_by_day, uses
from orchestrator.ledger.price_rows import name_of, rows_of
from orchestrator.ledger.repricing import Elsewhere, Known, Repriced, elsewhere, repriced
from orchestrator.models import PriceRow
from orchestrator.pricing.order import in_force
from orchestrator.pricing.rows import price_in

MOST_ROWS = 50
MOST_UNPRICED = 20
MOST_USES = 30
MOST_MODELS = 200
MOST_ELSEWHERE = 60


@dataclass(frozen=True, slots=True)
class Unpriced:
    """A model with calls that nobody knows the price of."""

    model: str
    sums: Sums


@dataclass(frozen=True, slots=True)
class Costs:
    """What was spent in some days, by what, and how far the budgets are."""

    chosen: Chosen
    by: By
    days: Mapping[date, Sums]
    total: Sums
    before: Sums  # of as many days before
    groups: Groups
    unpriced: Sequence[Unpriced]
    uses: Sequence[Use]
    more_uses: int
    use: Use | None  # the budget that is looked at
    burnt: Mapping[date, int]  # what was spent of it by day
    at: datetime

    @property
    def rest(self) -> Sums | None:
        """What is in no row of the groups; None where rows cannot be told from the whole."""
        return costs.rest(self.by, self.groups, lambda: self.total)

    @property
    def foot(self) -> Sums | None:
        """All rows together; None of tags, of which a call may have several. Of purposes: what is kept."""
        if self.by == "purpose":
            return costs.whole(group.sums for group in self.groups.rows)
        return None if self.by == "tag" else self.total

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.total.calls or self.total.saved_calls)


@dataclass(frozen=True, slots=True)
class Prices:
    """The same calls at other prices."""

    chosen: Chosen
    total: Sums
    unpriced: Sequence[Unpriced]
    repriced: Sequence[Repriced]  # those that differ most
    models: int  # how many there are to be repriced
    reckoned: int  # of them: whose price is known
    difference: int  # what the prices in force say of those beyond what was booked, of all of them
    booked_by: Mapping[int, PriceRow]
    is_cut: bool  # only the newest charges were looked at
    elsewhere: Sequence[Elsewhere]
    known: int  # how many models have a price
    is_narrowed: bool  # only models that were used, since who looks may not see the registry

    @property
    def dearest(self) -> int:
        """What it would have cost on the dearest model that is shown."""
        return max((one.microusd for one in self.elsewhere), default=0)


def read_costs(
    chosen: Chosen, by: By, reach: Reach, now: datetime, picked: str = "", budgets_of: Reach | None = None
) -> Costs:
    """Read them, in six queries at most.

    picked      the budget to look at, as `word_of` puts it; else it is the worst.
    budgets_of  whose budgets are shown, where that is not who may be seen to spend.
    """
    close_old_connections()
    span = chosen.span
    days = costs.by_day(costs.Span(span.before.first, span.until), reach)
    within = {day: sums for day, sums in days.items() if day >= span.first}
    total = costs.whole(within.values())
    before = costs.whole(sums for day, sums in days.items() if day < span.first)
    found = uses(reach if budgets_of is None else budgets_of, now)
    use = next((one for one in found.rows if word_of(one) == picked), found.rows[0] if found.rows else None)
    return Costs(
        chosen=chosen,
        by=by,
        days=within,
        total=total,
        before=before,
        groups=_newest(within) if by == "day" else costs.grouped(by, span, reach, MOST_ROWS),
        unpriced=_unpriced(chosen, reach) if total.unpriced else (),
        uses=found.rows[:MOST_USES],
        more_uses=found.more + max(0, len(found.rows) - MOST_USES),
        use=use,
        burnt=spent_by_day(use, reach) if use is not None else {},
        at=now,
    )


def read_prices(chosen: Chosen, reach: Reach, now: datetime, sold: Sold) -> Prices:
    """Read them. What is sold has the price in force; what is not any more, the newest that it was charged by.

    It may load the table of prices.
    """
    close_old_connections()
    span = chosen.span
    kept = rows_of(())
    known = {name_of(row): (row.provider, price_in(row)) for row in reversed(kept.values())}
    for place in sold.places:
        name = f"{place.provider}/{place.model}"
        price = in_force(place, sold.stated, now.timestamp()).price
        known.pop(name, None)
        if price is not None:
            known[name] = place.provider, price
    if reach != EVERYBODY:  # which models there are, and at what price, is in the registry
        used = {model for _, model, _ in costs.by_model(span, reach, MOST_MODELS)}
        known = {name: value for name, value in known.items() if name in used}
    again = repriced(span, reach, {name: price for name, (_, price) in known.items()})
    differences = [one.difference for one in again if one.difference is not None]
    total = costs.total_of(span, reach)
    everywhere = elsewhere(total, (Known(provider, name, price) for name, (provider, price) in known.items()))
    return Prices(
        chosen=chosen,
        total=total,
        unpriced=_unpriced(chosen, reach) if total.unpriced else (),
        repriced=again[:MOST_ROWS],
        models=len(again),
        reckoned=len(differences),
        difference=sum(differences),
        booked_by=rows_of(number for one in again[:MOST_ROWS] for number in one.booked_by),
        is_cut=sum(one.calls for one in again) >= costs.MOST_CHARGES,
        elsewhere=everywhere[:MOST_ELSEWHERE] if total.calls else (),
        known=len(known),
        is_narrowed=reach != EVERYBODY,
    )


def word_of(use: Use) -> str:
    """A budget's use as it stands in an address."""
    return f"{use.budget.name}:{use.under}"


def group_rows(found: Costs) -> list[tuple[Group, float | None]]:
    """Each group with its share of what was spent, 0 to 1; of tags there is none, nor where nothing is known."""
    whole = found.foot.cost_microusd if found.foot is not None else 0
    return [(group, _share(group.sums, whole)) for group in found.groups.rows]


def shown_price(price: Price) -> str:
    """What a million tokens cost, the question's and the answer's: $3 / $15."""
    return f"${price.input.normalize():f} / ${price.output.normalize():f}"


def _share(sums: Sums, whole: int) -> float | None:
    is_known = sums.cost_microusd or not sums.unpriced
    return sums.cost_microusd / whole if whole and is_known else None


def _newest(days: Mapping[date, Sums]) -> Groups:
    rows = [Group(day.isoformat(), day.isoformat(), sums) for day, sums in sorted(days.items(), reverse=True)]
    return Groups(rows[:MOST_ROWS], len(rows) > MOST_ROWS)


def _unpriced(chosen: Chosen, reach: Reach) -> list[Unpriced]:
    rows = costs.by_model(chosen.span, reach, MOST_UNPRICED, only_unpriced=True)
    return [Unpriced(model, sums) for _, model, sums in rows]
