"""The parts of a request's page: models that were considered, tiers that were asked, and what each call cost."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dashboard.costs.sums import shown_price
from dashboard.requests.one import AFTERWARDS, One
from dashboard.requests.told import failure
from dashboard.tiers import FAR_FROM_CACHE, NAMES, STACK, Tier
from orchestrator.ledger.stats import FROM_CACHE
from orchestrator.ledger.wording import ending
from orchestrator.models import Attempt, Charge, RequestRecord
from orchestrator.pricing.rows import price_in

STATES = {"well": ("ok", "healthy"), "slow": ("slow", "slow"), "failing": ("slow", "failing"), "down": ("down", "down")}
SAID_BY = {
    Charge.Source.TOLD: "as its provider bills it",
    Charge.Source.PRICE: "by its price",
    Charge.Source.RESERVED: "as much as was reserved, since nobody knows",
    Charge.Source.UNKNOWN: "nobody knows what it cost",
}
UNKNOWN_STATE = ("unknown", "unknown")


@dataclass(frozen=True, slots=True)
class Considered:
    """A model that might have answered."""

    name: str
    place: int | None  # in which it would have been asked, from 1; None: it was ruled out
    good: float | None = None  # how likely its answer was good, 0 to 1
    cost_microusd: int | None = None
    has_price: bool = True
    state: str = ""
    state_words: str = ""
    decision: str = ""
    is_chosen: bool = False


def considered(one: One) -> list[Considered]:
    """Those that the router weighed; where it had no part in it, those that were asked."""
    tried = {attempt.model: attempt for attempt in one.tried}
    answered = one.record.model if one.record.tier in FAR_FROM_CACHE else ""
    choice = one.decision["choice"] if one.decision else None
    if choice is None:
        return _asked(one, answered)
    rows = []
    for candidate in choice["candidates"]:
        name, place = candidate["name"], candidate["place"]
        state, words = STATES.get(candidate.get("health", ""), UNKNOWN_STATE)
        rows.append(
            Considered(
                name=name,
                place=None if place is None else place + 1,
                good=candidate.get("p_good"),
                cost_microusd=candidate.get("cost_micros"),
                state=state,
                state_words=words,
                decision=_decision(name, place, candidate["why"], tried, answered),
                is_chosen=name == answered,
            )
        )
    known = {row.name for row in rows}
    return rows + [row for row in _asked(one, answered) if row.name not in known]


def _decision(name: str, place: int | None, why: str, tried: dict[str, Attempt], answered: str) -> str:
    if name in tried:
        return f"tried, {failure(tried[name])}"
    if name == answered:
        return "chosen"
    if place is None:
        return why.removeprefix("Not asked: ")
    return "not needed"


def _asked(one: One, answered: str) -> list[Considered]:
    """Who was asked, in turn."""
    rows = [
        Considered(attempt.model, number, has_price=False, decision=f"tried, {failure(attempt)}")
        for number, attempt in enumerate(one.tried, 1)
    ]
    if answered and answered not in {row.name for row in rows}:
        rows.append(
            Considered(answered, len(rows) + 1, has_price=False, decision="answered", is_chosen=True)
            if one.record.outcome in {"done", "cut", "cancelled"}
            else Considered(answered, len(rows) + 1, has_price=False, decision="expected to answer")
        )
    return rows


@dataclass(frozen=True, slots=True)
class Looked:
    """A tier, and what came of asking it."""

    tier: str
    name: str
    words: str
    has_it: bool = False


def looked(record: RequestRecord, there: Collection[str]) -> list[Looked]:
    """The tiers of the cache in order.

    there  the tiers that this installation has now.
    """
    rows = []
    is_over = record.tier == Tier.BYPASS or not record.tier
    for tier in (one for one in STACK if one in FROM_CACHE):
        if tier == record.tier:
            rows.append(Looked(tier, NAMES[tier], "had it", has_it=True))
            is_over = True
        elif tier not in there:
            rows.append(Looked(tier, NAMES[tier], "not set up"))
        else:
            rows.append(Looked(tier, NAMES[tier], "not asked" if is_over else "did not have it"))
    return rows


@dataclass(frozen=True, slots=True)
class CostLine:
    """What one asking cost."""

    model: str
    words: str
    cost_microusd: int | None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request cost, in parts. `afterwards`: calls that it caused, and that nobody waited for."""

    lines: list[CostLine]
    total: int | None
    afterwards: list[CostLine]
    is_apart: bool  # the parts that are left do not come to the record's total


def cost(one: One) -> Cost:
    """Its charges; what costs nothing is named as well."""
    charged = [charge for charge in one.charges if charge.purpose not in AFTERWARDS]
    later = [charge for charge in one.charges if charge.purpose in AFTERWARDS]
    lines = [_line(charge, one) for charge in charged]
    total = one.record.cost_microusd
    known = [line.cost_microusd for line in lines]
    whole = None if None in known else sum(amount or 0 for amount in known)
    free = {charge.model for charge in charged}
    unpaid = [CostLine(name, "nothing charged", 0) for name in _asked_names(one) if name not in free]
    return Cost([*lines, *unpaid], total, [_line(charge, one) for charge in later], whole != total)


def _asked_names(one: One) -> list[str]:
    names = [attempt.model for attempt in one.tried]
    if one.record.tier in FAR_FROM_CACHE and one.record.model and not one.record.is_paid:
        names.append(one.record.model)
    return list(dict.fromkeys(names))


def _line(charge: Charge, one: One) -> CostLine:
    words = [f"{charge.prompt_tokens:,} in, {charge.completion_tokens:,} out"]
    if charge.cached_tokens:
        words.append(f"{charge.cached_tokens:,} of them cached")
    price = one.prices.get(charge.price_id or 0)
    if charge.source == Charge.Source.PRICE and price is not None:
        words.append(f"at {shown_price(price_in(price))} a million")
    else:
        words.append(SAID_BY[Charge.Source(charge.source)])
    if charge.outcome not in {"done", "cut"}:
        words.append(ending(charge.outcome))
    if charge.doubt:
        words.append(f"doubted: {charge.get_doubt_display()}")
    if charge.purpose in AFTERWARDS:
        words.insert(0, charge.purpose)
    return CostLine(charge.model, ", ".join(words), charge.cost_microusd)


def billed_by(charges: Sequence[Charge]) -> str:
    """Who says what it cost."""
    sources = {charge.source for charge in charges if charge.purpose not in AFTERWARDS}
    if not sources:
        return "nothing was charged"
    if sources == {Charge.Source.TOLD}:
        return "as its provider bills it"
    return "by its price" if sources == {Charge.Source.PRICE} else "by more than one source"
