"""What a model would charge and where it runs, as far as the tables tell: for reckoning what might have been."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from orchestrator.core.prices import Price, Stated
from orchestrator.modelhost.names import as_compared
from orchestrator.pricing.order import LIST, in_force, place_at
from orchestrator.pricing.rows import last_listed
from orchestrator.registry.entries import LOCAL, ModelEntry, Registry


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
        self._prices: dict[str, Price | None] = {}

    def is_local(self, name: str) -> bool:
        """Whether it runs on this machine, where there is such a model at all."""
        provider, _, _ = self._place(name)
        return provider == LOCAL

    def of(self, name: str, tokens: Tokens) -> int | None:
        """What a call of it costs, in millionths of a dollar; None when nobody knows."""
        name = as_compared(name)
        if name not in self._prices:
            self._prices[name] = self._price(name)
        price = self._prices[name]
        if price is not None:
            return price.of(tokens)
        provider = self._providers.get(self._place(name)[0])
        return 0 if self.is_local(name) or (provider is not None and not provider.is_paid) else None

    def _price(self, name: str) -> Price | None:
        provider, model, stated = self._place(name)
        seller = self._providers.get(provider)
        if seller is None:
            return None
        place = place_at(seller, model, stated=stated, listed=self._listed.get((provider, model.lower())))
        return in_force(place, self._stated, self._at).price

    def _place(self, name: str) -> tuple[str, str, Price | None]:
        """Provider and name there of the place that is asked first, and what the registry says that it charges."""
        entry = self._models.get(as_compared(name))
        if entry is not None and entry.deployments:
            return _first(entry)
        provider, slash, model = name.partition("/")
        return (provider.lower(), model, None) if slash else (LOCAL, name, None)

    @cached_property
    def _listed(self) -> dict[tuple[str, str], Price]:
        """What providers said in their lists when they were asked last."""
        return last_listed(LIST)


def _first(entry: ModelEntry) -> tuple[str, str, Price | None]:
    first = min(entry.deployments, key=lambda one: one.rank)
    stated = None
    if first.input_price is not None and first.output_price is not None:
        stated = Price(input=first.input_price, output=first.output_price)
    return first.provider, first.remote_name, stated
