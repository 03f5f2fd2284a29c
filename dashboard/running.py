"""What the running parts say of themselves: health, loaded models, what the cache holds.

This is the only place where the dashboard reaches for the parts, and every wait has a deadline: a
page shows "unknown" for a part that does not answer, and the rest of the page stands.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple, TypeVar

from django.utils import timezone

from cache.entries import Holding, Scope
from cache.tiered import Purged
from dashboard.llm.offers import Offer, Offers
from dashboard.periods import DEFAULT
from dashboard.providers.verdict import PAGE as PROVIDERS
from dashboard.providers.verdict import providers_part
from dashboard.reading import reader
from dashboard.strip import Part, strip
from orchestrator import vitals
from orchestrator.core.limits import Limit
from orchestrator.core.permissions import EVERYBODY, Reach
from orchestrator.core.prices import Price, Stated
from orchestrator.core.types import Candidate, Model
from orchestrator.engines.llamacpp import LoadedModel
from orchestrator.modelhost.details import ModelDetails
from orchestrator.pricing.order import Place, place_at
from orchestrator.registry.entries import LOCAL
from orchestrator.ruling.doubts import models_there
from orchestrator.wiring import parts

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_S = 2.0  # longest wait for what a page shows
COUNT_S = 10.0  # longest wait for a count over the tiers
NOTHING = Holding(0, 0)
PURGE_S = 90.0  # longest wait for a purge of every tier


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a model last wrote, and when that was seen."""

    tokens_per_s: float
    at: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the parts; None where nobody answered in time."""

    health: Sequence[Part] | None
    loaded: Sequence[LoadedModel] | None
    installed: Sequence[Model] | None
    paces: Mapping[str, Pace] = field(default_factory=dict)
    is_whole: bool = True  # no: for somebody who sees some tenants only

    def for_one_tenant(self) -> Look:
        """Without what the use that others make of it shows in: how busy, how fast, until when loaded, and why."""
        health = None if self.health is None else [replace(part, words=part.state, sentence="") for part in self.health]
        loaded = None if self.loaded is None else [_unused(one) for one in self.loaded]
        if health is not None:
            health = [part for part in health if part.page != PROVIDERS]
        return Look(health, loaded, self.installed, is_whole=False)


class Here(NamedTuple):
    """The models of this machine; None where nobody answered in time."""

    loaded: Sequence[LoadedModel] | None
    installed: Sequence[Model] | None
    loading: Collection[str] = ()  # names
    paces: Mapping[str, Pace] = {}


class Sold(NamedTuple):
    """Where models can be had, and what operators said that they charge."""

    places: Sequence[Place]
    stated: Sequence[Stated]


async def look(reach: Reach = EVERYBODY) -> Look:
    """What the parts say, as somebody may see it who sees the things of those in `reach`."""
    seen = await _look()
    return seen if reach == EVERYBODY else seen.for_one_tenant()


async def _look() -> Look:
    """Ask health, models and providers, all at once."""
    health, providers, loaded, installed = await asyncio.gather(
        _known("health", lambda: parts().health()),
        _known("providers", lambda: reader.providers(DEFAULT, EVERYBODY)),
        _known("loaded models", lambda: parts().local.ps()),
        _known("installed models", lambda: parts().local.models()),
    )
    shown = None if health is None else [*strip(health), providers_part(providers)]
    return Look(shown, loaded, installed, _paces_of(loaded, timezone.now()))


async def holding(*scopes: Scope) -> Mapping[str, Holding | None] | None:
    """What each tier holds of `scopes`, None for one that cannot say; None when there is no answer at all."""
    return await _known("holding", lambda: _holding(scopes), COUNT_S)


async def _holding(scopes: Sequence[Scope]) -> Mapping[str, Holding | None]:
    sums: dict[str, Holding | None] = {}
    for scope in scopes:
        for tier, one in (await parts().cache.holding(scope)).items():
            before = sums.get(tier, NOTHING)
            is_known = one is not None and before is not None
            sums[tier] = Holding(before.entries + one.entries, before.bytes + one.bytes) if is_known else None  # type: ignore[union-attr]
    return sums


async def of_all_workers(held: Mapping[str, Holding | None] | None) -> Mapping[str, Holding | None] | None:
    """What was found of this process, with what the memory of all workers holds; as it was where nobody tells that."""
    whole = await _known("what the workers keep", lambda: vitals.kept(parts()), COUNT_S)
    return {**held, **{tier: whole[tier] for tier in held if tier in whole}} if held and whole else held


def purges() -> int:
    """How many there were on this machine, by whatever process: what was counted before one no longer holds."""
    return parts().cache.generation()


async def used_of(counted: Sequence[tuple[Limit, str]]) -> Sequence[float] | None:
    """How much of each limit is used by whom it counts apart, as `Limiter.used`; None when nobody says."""
    return await _known("what of limits is used", lambda: parts().limiter.used(counted))


async def purge(*scopes: Scope) -> Purged:
    """Forget the answers in `scopes` in every tier. Raises TimeoutError when that is not over in time."""
    async with asyncio.timeout(PURGE_S):
        total = Purged()
        for scope in scopes:
            total.add(await parts().cache.purge(scope))
        return total


def _unused(model: LoadedModel) -> LoadedModel:
    return replace(model, busy=0, waiting=0, tokens_per_s=0.0, expires_at=None)


_paces: dict[str, Pace] = {}


def _paces_of(loaded: Sequence[LoadedModel] | None, now: datetime) -> Mapping[str, Pace]:
    """The last pace seen of each loaded model: an idle one has none to tell, and forgets what it had."""
    if loaded is not None:
        for name in _paces.keys() - {one.model.name for one in loaded}:
            del _paces[name]
        _paces.update({one.model.name: Pace(one.tokens_per_s, now) for one in loaded if one.tokens_per_s})
    return dict(_paces)


_unknown: set[str] = set()


async def _known(what: str, ask: Callable[[], Awaitable[T]], deadline_s: float = LOOK_S) -> T | None:
    """The answer, or None when it did not come. One line is logged when that begins, and when it ends."""
    try:
        found = await asyncio.wait_for(ask(), deadline_s)
    except Exception as error:  # noqa: BLE001  # whatever ails a part, the page says "unknown" and stands
        if what not in _unknown:
            _unknown.add(what)
            log.warning("the dashboard cannot read %s: %s", what, str(error) or type(error).__name__)
        return None
    if what in _unknown:
        _unknown.discard(what)
        log.warning("the dashboard can read %s again", what)
    return found


def sold() -> Sold:
    """Every model that a provider lists, is registered at, or that an operator said a price of. Nobody is asked."""
    catalogue = parts().catalogue
    registry = catalogue.registry
    sellers = {one.name: one for one in registry.providers}
    found: dict[tuple[str, str], Place] = {}

    def add(provider: str, model: str, stated: Price | None = None, listed: Price | None = None) -> None:
        if provider in sellers:
            known = found.get((provider, model.lower()))
            listed = listed or (known.listed if known else None)
            stated = stated or (known.stated if known else None)
            found[provider, model.lower()] = place_at(sellers[provider], model, stated=stated, listed=listed)

    for model in catalogue.known():
        add(model.engine, model.remote_name or model.name, listed=model.price)
    for one in registry.stated:
        add(one.provider, one.model)
    for place in (one for entry in registry.models for one in entry.deployments):
        if place.input_price is not None and place.output_price is not None:
            add(place.provider, place.remote_name, stated=Price(input=place.input_price, output=place.output_price))
        else:
            add(place.provider, place.remote_name)
    return Sold(list(found.values()), registry.stated)


def offers() -> Offers:
    """Every model elsewhere that a provider lists, is registered, or has a price of an operator's. Nobody is asked."""
    catalogue = parts().catalogue
    registry = catalogue.registry
    found: dict[str, Offer] = {}
    for model in catalogue.known():
        one = Offer(provider=model.engine, remote_name=model.remote_name or model.name, model=model)
        found[one.name.lower()] = one
    for entry in registry.models:
        for place in entry.deployments:
            if place.provider not in {"", LOCAL}:
                one = _known_or_new(found, place.provider, place.remote_name)
                found[one.name.lower()] = replace(
                    one,
                    names=(*one.names, entry.name),
                    capabilities=entry.capabilities or one.capabilities,
                    context_length=entry.context_length or one.context_length,
                )
    for said in registry.stated:
        one = _known_or_new(found, said.provider, said.model)
        found[one.name.lower()] = replace(one, is_stated=True)
    charging = {f"{place.provider}/{place.model}".lower(): place for place in sold().places}
    return Offers(registry=registry, off=catalogue.off, places=list(found.values()), sold=charging)


def _known_or_new(found: Mapping[str, Offer], provider: str, model: str) -> Offer:
    known = found.get(f"{provider}/{model}".lower())
    return known or Offer(provider=provider, remote_name=model)


async def models_here() -> Here:
    """What the model host and the folder of models say."""
    loaded, installed, loading = await asyncio.gather(
        _known("loaded models", lambda: parts().local.ps()),
        _known("installed models", lambda: parts().local.models()),
        _known("models that are being loaded", lambda: parts().local.loading()),
    )
    return Here(loaded, installed, loading or frozenset(), _paces_of(loaded, timezone.now()))


async def installed_model(name: str) -> Model | None:
    """The model of this machine that a name means; None also where nobody says in time."""
    return await _known("an installed model", lambda: parts().local.find(name))


async def shown(model: Model) -> ModelDetails | None:
    """All that the file of an installed model tells; None where it cannot be read."""
    return await _known("what a model is", lambda: parts().local.show(model))


async def candidates_of(name: str) -> Sequence[Candidate]:
    """The places that may answer for a model, in order; none where it can be had nowhere."""
    route = await _known("places of a model", lambda: parts().catalogue.places(name))
    return route.candidates if route else ()


async def models_to_name() -> frozenset[str] | None:
    """The models that rules may name, `openai/*` for whoever may have any; None when nobody says in time."""
    return await _known("models", lambda: models_there(parts().catalogue))


def registered_as(model: str) -> str | None:
    """Under which name a provider's model, by its full name, is registered; None: it is not."""
    for entry in parts().catalogue.registry.models:
        if entry.name == model or any(f"{one.provider}/{one.remote_name}" == model for one in entry.deployments):
            return entry.name
    return None


def tiers_there() -> frozenset[str]:
    """The tiers that the cache has here."""
    return frozenset(parts().cache.stats())
