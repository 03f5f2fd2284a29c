"""What a model would charge and where it runs, as far as the tables tell: for reckoning what might have been."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from orchestrator.core.prices import Price, Stated
from orchestrator.ledger.estimate import Most
from orchestrator.modelhost.names import as_compared
from orchestrator.pricing.order import LIST, in_force, place_at
from orchestrator.pricing.rows import last_listed
from orchestrator.registry.entries import LOCAL, DeploymentEntry, Registry

Place = tuple[str, str, Price | None]  # a provider, what the model is called there, what the registry says of its price


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of a question and its answer. What a provider had in its own cache is another matter with another one."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0


class Charges:
    """What every model charges at a moment, by the name that rules give it. It may load the table of prices."""

    def __init__(self, registry: Registry, at: float) -> None:
        """`at` is in seconds since the epoch."""
        self._providers = {one.name: one for one in registry.providers}
        self._models = {name.lower(): one for one in registry.models for name in (one.name, *one.aliases)}
        self._stated: tuple[Stated, ...] = registry.stated
        self._at = at
        self._prices: dict[Place, Price | None] = {}

    def is_local(self, name: str) -> bool:
        """Whether it runs on this machine, where there is such a model at all."""
        provider, _, _ = self._place(name)
        return provider == LOCAL

    def of(self, name: str, tokens: Tokens) -> int | None:
        """What a call of it costs, in millionths of a dollar; None when nobody knows."""
        place = self._place(name)
        price = self._price(place)
        return price.of(tokens) if price is not None else self._unpriced(place)

    def most(self, name: str, most: Most) -> int | None:
        """What a call of no more tokens costs at most, in millionths of a dollar; None when nobody knows.

        Of a model with several places, at the one where that is least.
        """
        prices = [(place, self._price(place)) for place in self._places(name)]
        found = [price.most(*most) if price is not None else self._unpriced(place) for place, price in prices]
        return min((cost for cost in found if cost is not None), default=None)

    def _unpriced(self, place: Place) -> int | None:
        """What a place without a price costs: nothing where nothing is paid for."""
        provider = self._providers.get(place[0])
        return 0 if place[0] == LOCAL or (provider is not None and not provider.is_paid) else None

    def _price(self, place: Place) -> Price | None:
        if place not in self._prices:
            provider, model, stated = place
            seller, price = self._providers.get(provider), None
            if seller is not None:
                listed = self._listed.get((provider, model.lower()))
                known = place_at(seller, model, stated=stated, listed=listed)
                price = in_force(known, self._stated, self._at).price
            self._prices[place] = price
        return self._prices[place]

    def _place(self, name: str) -> Place:
        """The place that is asked first."""
        return self._places(name)[0]

    def _places(self, name: str) -> list[Place]:
        """Every place of a model, in the order that they are asked."""
        name = as_compared(name)
        entry = self._models.get(name)
        if entry is not None and entry.deployments:
            return [_place_of(one) for one in sorted(entry.deployments, key=lambda one: one.rank)]
        provider, slash, model = name.partition("/")
        return [(provider.lower(), model, None) if slash else (LOCAL, name, None)]

    @cached_property
    def _listed(self) -> dict[tuple[str, str], Price]:
        """What providers said in their lists when they were asked last."""
        return last_listed(LIST)


def _place_of(one: DeploymentEntry) -> Place:
    stated = None
    if one.input_price is not None and one.output_price is not None:
        stated = Price(input=one.input_price, output=one.output_price)
    return one.provider, one.remote_name, stated
