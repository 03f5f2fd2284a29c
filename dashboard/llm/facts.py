"""What stands on a model's page: its price and how that was before, the rules that name it, where it runs in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from django.db import close_old_connections
from django.utils import timezone

from dashboard.costs.sums import shown_price
from dashboard.llm.offers import Offer, Offers
from dashboard.llm.rows import Local, Place, State
from dashboard.providers.rows import title_of
from orchestrator.core.prices import Price
from orchestrator.core.types import Candidate
from orchestrator.models import PriceRow
from orchestrator.pricing.order import OPERATOR, in_force
from orchestrator.pricing.rows import price_in
from orchestrator.registry.entries import LOCAL, ModelEntry
from orchestrator.ruling.doubts import rules_naming
from orchestrator.ruling.versions import live_if_read
from routing.rules.sentences import halves

MOST_PRICES = 12
MOST_RULES = 20


class Priced(NamedTuple):
    """A price, who said it, and from when on it was used, or is to hold."""

    at: datetime
    words: str
    source: str
    is_used: bool


class Naming(NamedTuple):
    """A live rule that names the model."""

    place: int
    name: str
    is_on: bool
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the database knows of one model."""

    price: Price | None
    prices: Sequence[Priced]
    rules: Sequence[Naming]
    has_rules: bool  # the live rules could be read


class Step(NamedTuple):
    """A place where a registered model is asked, in its turn."""

    name: str
    where: str
    provider: str  # empty: this machine
    rank: int
    state: State
    stands_in: bool  # it is another model, asked when this one fails


def read_facts(names: Sequence[str], place: Place | None, offers: Offers) -> Facts:
    """Read them, in three queries at most. It may load the table of prices."""
    close_old_connections()
    document = live_if_read()
    found = rules_naming(document, names) if document else []
    sold = offers.sold.get(place.name.lower()) if place else None
    return Facts(
        price=in_force(sold, offers.registry.stated, timezone.now().timestamp()).price if sold else None,
        prices=_prices(place.offer, offers) if place else (),
        rules=[Naming(at, rule.name, rule.is_on, ": ".join(halves(rule))) for at, rule in found[:MOST_RULES]],
        has_rules=document is not None,
    )


def in_order(
    entry: ModelEntry,
    candidates: Sequence[Candidate],
    places: Sequence[Place],
    rows: Sequence[Local] | None,
) -> list[Step]:
    """Where a registered model is asked, first to last; what is off comes last."""
    states = {place.name.lower(): place.state for place in places}
    here = {row.name.lower(): row.state for row in rows or ()}
    steps = []
    own = {_name_at(one.provider, one.remote_name).lower() for one in entry.deployments}
    for one in candidates:
        name = one.model.name
        is_here = not one.model.is_remote
        state = here.get(name.lower(), State("unknown", "unknown")) if is_here else states.get(name.lower())
        steps.append(
            Step(
                name,
                "this machine" if is_here else title_of(one.model.engine),
                "" if is_here else one.model.engine,
                one.rank,
                state or State("unknown", "not known"),
                stands_in=entry.is_deployed and name.lower() not in own,
            )
        )
    known = {step.name.lower() for step in steps}
    for missing in entry.deployments:
        name = _name_at(missing.provider, missing.remote_name)
        if name.lower() not in known:
            is_here = missing.provider in {"", LOCAL}
            state = State("off", "not installed") if is_here else states.get(name.lower(), State("off", "off"))
            where, provider = ("this machine", "") if is_here else (title_of(missing.provider), missing.provider)
            steps.append(Step(name, where, provider, missing.rank, state, stands_in=False))
    return steps


def _name_at(provider: str, remote_name: str) -> str:
    return remote_name if provider in {"", LOCAL} else f"{provider}/{remote_name}"


def _prices(offer: Offer, offers: Offers) -> list[Priced]:
    """Prices that calls were booked by, and those operators said, the newest first."""
    rows = PriceRow.objects.filter(provider=offer.provider, model__iexact=offer.remote_name)
    used = rows.filter(last_used_at__isnull=False).order_by("-id")
    found = [
        Priced(row.first_used_at, shown_price(price_in(row)), row.source, is_used=True) for row in used[:MOST_PRICES]
    ]
    for one in offers.registry.stated:
        if (one.provider, one.model.lower()) == (offer.provider, offer.remote_name.lower()):
            words = shown_price(one.price) if one.price else "no longer said"
            found.append(Priced(datetime.fromtimestamp(one.since, UTC), words, OPERATOR, is_used=False))
    return sorted(found, key=lambda one: one.at, reverse=True)[:MOST_PRICES]
