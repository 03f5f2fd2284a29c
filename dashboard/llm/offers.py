"""Models elsewhere, as this process knows them without asking anybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.core.types import Model
from orchestrator.pricing.order import Place
from orchestrator.registry.entries import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A model at a provider, as far as it is known."""

    provider: str
    remote_name: str  # as the provider calls it
    names: tuple[str, ...] = ()  # what it is registered as
    model: Model | None = None  # as its provider lists it
    is_stated: bool = False  # an operator said what it charges
    capabilities: frozenset[str] = frozenset()  # as it is registered; empty: as its provider tells
    context_length: int | None = None  # the same

    @property
    def name(self) -> str:
        """As it can be asked for anywhere."""
        return f"{self.provider}/{self.remote_name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What can be had elsewhere: by whom, and where its price hangs."""

    registry: Registry
    off: Mapping[str, str]  # providers that are not asked, and why
    places: Sequence[Offer]
    sold: Mapping[str, Place]  # by the full name in lower case
