"""Every model by every name: what operators registered, what providers list, what is here."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from orchestrator.core.errors import ModelNotFound
from orchestrator.core.prices import Price
from orchestrator.core.tasks import end
from orchestrator.core.types import Candidate, Model, Route
from orchestrator.engines.base import Engine, ProviderEngine
from orchestrator.modelhost.names import as_compared, as_listed
from orchestrator.pricing.book import PriceBook
from orchestrator.pricing.order import Place, place_at, said
from orchestrator.registry.entries import LOCAL, DeploymentEntry, ModelEntry, ProviderEntry, Registry

log = logging.getLogger(__name__)

LOOKED_UP = 100  # prices that are looked for in one turn of the loop
LISTED_S = 1.0  # how long the list of registered models holds while the registry stays the same


class Watch(Protocol):
    """Knows whether the registry has changed since it was read."""

    async def catch_up(self) -> None:
        """Return when what is known is as new as the last change on this machine, or that takes too long."""
        ...


class Called(NamedTuple):
    """What a model is called: its own name, by which it may be asked or not, and others that mean it.

    places_of  all names of the registered models that it is a place of: those are other models.
    """

    name: str
    aliases: tuple[str, ...] = ()
    places_of: tuple[str, ...] = ()


class Catalogue:
    """All engines as one, with the registry's names in front of theirs."""

    def __init__(
        self,
        engines: Sequence[Engine],
        make: Callable[[ProviderEntry], ProviderEngine] | None = None,
        prices: PriceBook | None = None,
    ) -> None:
        """`engines` are always there, asked in this order; `make` makes one for each provider of the registry.

        prices  knows what models charge; without it they charge what the registry and their providers say.
        """
        self._prices = prices
        self._looked_up: Registry | None = None  # of which all prices were
        self._unknown: set[str] = set()  # of which was said that they have none
        self._always = {engine.name: engine for engine in engines}
        self._make = make
        self._made: dict[str, tuple[ProviderEntry, ProviderEngine]] = {}
        self._registered: dict[str, ModelEntry] = {}  # by name and alias, in lower case
        self._settled: dict[str, ModelEntry] = {}  # that run where their name says, by it as lists have it
        self._placed: Mapping[str, tuple[ModelEntry, ...]] = {}  # by the own name of each of their places, plain
        self._retiring: dict[asyncio.Task[None], ProviderEngine] = {}
        self.registry = Registry()
        self._listed: tuple[float, list[Model]] | None = None  # until when, and the models that can be had
        self.off: Mapping[str, str] = {}  # providers that are not asked, and why
        self.watch: Watch | None = None

    def apply(self, registry: Registry) -> set[str]:
        """Go by `registry` from now on. Calls under way end as they began; who did not change keeps its connections.

        Return the providers that were replaced or taken out.
        """
        changed = set()
        wanted = {entry.name: entry for entry in registry.providers}
        for name, (entry, engine) in list(self._made.items()):
            if name not in wanted or _engine_part(entry) != _engine_part(wanted[name]):
                del self._made[name]
                changed.add(name)
                self._retire(engine)
        for name, entry in wanted.items():
            if name not in self._made and self._make is not None:
                engine = self._make(entry)
                engine.look()
                self._made[name] = entry, engine
            elif name in self._made:
                self._made[name] = entry, self._made[name][1]
        self._registered = {}
        for model in registry.models:
            for name in (model.name, *model.aliases):
                self._registered[name.lower()] = model
        self._settled = {as_listed(model.name).lower(): model for model in registry.models if not model.is_deployed}
        self._placed = placed(registry, self._name_of)
        self.registry = registry
        self._listed = None
        if self._prices is not None:
            self._prices.go_by(registry.stated)
        return changed

    def engine_of(self, model: Model) -> Engine:
        """The engine that runs `model`. Raises ModelNotFound where its provider was taken out meanwhile."""
        if engine := self._always.get(model.engine):
            return engine
        try:
            return self._made[model.engine][1]
        except KeyError:
            raise ModelNotFound(f"The provider {model.engine} is no longer set up.") from None

    async def route(self, name: str) -> Route | None:
        """Every place that may answer for the model a caller's `name` means; None when there is no such model.

        Raises ModelNotFound for a registered one that can be had nowhere at the moment.
        """
        if self.watch is not None:
            await self.watch.catch_up()
        route = await self._route(name)
        if self._prices is not None and self._prices.is_behind and route is not None and _lacks_a_price(route):
            await self._prices.catch_up()
            route = await self._route(name)
        return route

    async def called(self, name: str) -> Called | None:
        """What the model that a caller's `name` means is called; None when there is no such model."""
        if self.watch is not None:
            await self.watch.catch_up()
        entry = self._entry(name)
        if entry is None or not entry.is_deployed:
            model = await self._found(entry.name if entry else name)
            if model is not None:
                return self._called(model.name, entry or self._of_own_name(model.name))
        return self._called(entry.name, entry) if entry else None

    def _called(self, name: str, entry: ModelEntry | None) -> Called:
        others = others_at(name, self._placed, entry)
        return Called(name, aliases_of(name, entry), tuple(one for other in others for one in all_names(other)))

    def places_of(self, name: str) -> tuple[str, ...]:
        """The registered models, by their own names, that a model with this own name is a place of."""
        if as_compared(name) not in self._placed:
            return ()
        return tuple(one.name for one in others_at(name, self._placed, self._entry(name)))

    def with_places(self, route: Route) -> Route:
        """A route to models that were taken from a list, with what each is a place of."""
        candidates = (replace(one, places_of=self.places_of(one.model.name)) for one in route.candidates)
        return replace(route, candidates=tuple(candidates)) if self._placed else route

    async def priced(self, route: Route) -> Route:
        """A route to models that were taken from a list, with what they charge."""
        found = self._priced_now(route)
        if self._prices is not None and self._prices.is_behind and _lacks_a_price(found):
            await self._prices.catch_up()
            found = self._priced_now(route)
        return found

    def _priced_now(self, route: Route) -> Route:
        candidates = tuple(map(self._with_its_price, route.candidates))
        return replace(route, model=candidates[0].stands_for, candidates=candidates)

    def _with_its_price(self, one: Candidate) -> Candidate:
        if one.model.price is not None and one.model.price.source:  # of a registered model, which has it
            return one
        model = self._with_price(one.model)
        is_its_own = one.stands_for.name == one.model.name
        return replace(one, model=model, stands_for=model if is_its_own else one.stands_for)

    async def _route(self, name: str) -> Route | None:
        entry = self._entry(name)
        if entry is not None:
            return await self._registered_route(entry)
        model = await self._at_engines(name)
        if model is None:
            return None
        return Route(model=model, reason="named", candidates=(self._itself(model),))

    def _itself(self, model: Model) -> Candidate:
        """A model that is asked by its own name."""
        return Candidate(model=model, stands_for=model, places_of=self.places_of(model.name))

    async def models(self) -> list[Model]:
        """Every model: those registered, then those of every engine that are not among them."""
        if self.watch is not None:
            await self.watch.catch_up()
        found = {model.name.lower(): model for model in await self._registered_models()}
        off = {entry.name.lower() for entry in self.registry.models if entry.is_off}
        for engine in self._shown():
            for model in await engine.models():
                if model.name.lower() not in off:
                    found.setdefault(model.name.lower(), model)
        return list(found.values())

    async def _registered_models(self) -> list[Model]:
        """Those that can be had. There may be thousands, and lists are asked for twice a second."""
        now = asyncio.get_running_loop().time()
        if self._listed is None or now > self._listed[0]:
            deployed = [(await self._deployed(entry))[0] for entry in self.registry.models if not entry.is_off]
            self._listed = now + LISTED_S, [model for model in deployed if model is not None]
        return self._listed[1]

    async def look_up_prices(self) -> None:
        """Find out what registered models charge before anybody asks for them, and what it is by now."""
        if self._prices is None:
            return
        registry = self.registry
        if self._looked_up is not registry:
            self._looked_up = registry
            if any(one.is_paid for one in registry.providers):
                await self._prices.load()
            for deployments in _in_parts([one for entry in registry.models for one in entry.deployments]):
                for deployment in deployments:
                    if found := await self._at(deployment):
                        self._with_price(found, deployment)
                await asyncio.sleep(0)  # others have their turn: there may be thousands
            await self._prices.catch_up()
            self._say_what_is_unknown()
        await self._prices.renew()

    def _say_what_is_unknown(self) -> None:
        """Log which registered models have no price; each once."""
        unknown = {f"{name}/{model}" for name in self._made for model in self.unpriced(name)}
        for name in sorted(unknown - self._unknown):
            log.warning("no price is known of %s; say it with `manage.py prices set %s`", name, name)
        self._unknown = unknown

    def unpriced(self, provider: str) -> list[str]:
        """Models of a provider that charge nobody knows what: of those that are registered, or listed and asked for."""
        if self._prices is None or provider not in self._made:
            return []
        there = {model.remote_name for model in self._made[provider][1].known()}
        there |= {
            one.remote_name
            for entry in self.registry.models
            for one in entry.deployments
            if one.provider == provider and not entry.is_off
        }
        return sorted(there & self._prices.unknown(provider))

    def known(self) -> list[Model]:
        """What providers are known to list; nobody is asked, and nothing waited for."""
        return [model for entry, engine in self._made.values() if entry.lists_models for model in engine.known()]

    async def choosable(self) -> list[Model]:
        """What may be chosen without being named: registered models, and what providers are known to list.

        Of the latter those come first that charge as far as is known: by the list, or since somebody asked them before.
        Nobody is asked, and no price is looked up for it.
        """
        if self.watch is not None:
            await self.watch.catch_up()
        found = {model.name.lower(): model for model in await self._registered_models()}
        off = {entry.name.lower() for entry in self.registry.models if entry.is_off}
        unpriced: list[Model] = []
        for model in self.known():
            name = model.name.lower()
            if name in found or name in off:
                continue
            priced = self._as_known(model)
            if priced.price is None and priced.is_paid:
                unpriced.append(model)
            else:
                found[name] = priced
        return [*found.values(), *unpriced]

    async def places(self, name: str) -> Route | None:
        """As `route`, without waiting for a change or a price. Raises ModelNotFound."""
        return await self._route(name)

    def _as_known(self, model: Model) -> Model:
        """A listed model with what it charges, as far as that was found out before."""
        if self._prices is None or not model.is_paid:
            return model
        price = self._prices.known(self._place(model, None)) or model.price
        return replace(model, price=price)

    async def aclose(self) -> None:
        """Close every engine's connections."""
        retiring = dict(self._retiring)
        await end(retiring)
        for engine in (*self._engines(), *retiring.values()):
            await engine.aclose()
        if self._prices is not None:
            await self._prices.aclose()

    def _engines(self) -> list[Engine]:
        return [*(engine for _, engine in self._made.values()), *self._always.values()]

    def _shown(self) -> list[Engine]:
        return [*(engine for entry, engine in self._made.values() if entry.lists_models), *self._always.values()]

    def _retire(self, engine: ProviderEngine) -> None:
        engine.is_retired = True  # at once, so that nothing more begins there
        task = asyncio.create_task(engine.retire())
        self._retiring[task] = engine
        task.add_done_callback(lambda task: self._retiring.pop(task, None))

    def _entry(self, name: str) -> ModelEntry | None:
        lower = name.lower()
        return self._registered.get(lower) or self._registered.get(lower.removesuffix(":latest"))

    def _of_own_name(self, name: str) -> ModelEntry | None:
        """What the registry says of a model that an engine calls so."""
        return self._entry(name) or self._settled.get(as_listed(name).lower())

    async def _at_engines(self, name: str) -> Model | None:
        model = await self._found(name)
        return self._with_price(model) if model else None

    async def _found(self, name: str) -> Model | None:
        for engine in self._engines():
            if model := await engine.find(name):
                return model
        return None

    async def _registered_route(self, entry: ModelEntry) -> Route:
        if entry.is_off:
            raise ModelNotFound(f"model '{entry.name}' is switched off in the registry")
        model, candidates = await self._deployed(entry)
        off = self._off(entry, candidates)
        last = max((one.rank for one in candidates), default=0)
        for name in entry.fallbacks:
            for one in await self._of_fallback(name):
                candidates.append(replace(one, rank=last + 1 + one.rank))
            last = max(last, *(one.rank for one in candidates)) if candidates else last
        if not candidates:
            places = ", ".join(f"{one.provider}/{one.remote_name}" for one in entry.deployments) or entry.name
            raise ModelNotFound(
                f"model '{entry.name}' is registered, but no place to ask it is set up ({places});"
                f" {self.why_off(entry.deployments[0].provider) if entry.deployments else ''}"
                "see the providers page of the dashboard"
            )
        model = model or candidates[0].stands_for
        return Route(
            model=model,
            reason=f"named; off: {off}" if off else "named",
            candidates=tuple(sorted(candidates, key=lambda one: one.rank)),
            balance=entry.balance,
            hedge_after_s=entry.hedge_after_s,
        )

    def _off(self, entry: ModelEntry, candidates: Sequence[Candidate]) -> str:
        """The first place that would come before all others, were its provider on; empty without one."""
        first = min((one.rank for one in candidates), default=0)
        there = {*self._made, *self._always, LOCAL}
        missing = (one for one in entry.deployments if one.rank <= first and one.provider not in there)
        return next((f"{one.provider}/{one.remote_name}" for one in missing), "")

    def why_off(self, provider: str) -> str:
        """Why a provider of the registry is off, as the beginning of a sentence's second half; empty when it is not."""
        why = self.off.get(provider.lower())
        return f"{provider} is off: {why}; " if why else ""

    async def _of_fallback(self, name: str) -> list[Candidate]:
        """The places of another model; its own fallbacks are not followed, so there are no circles."""
        entry = self._entry(name)
        if entry is not None:
            return [] if entry.is_off else (await self._deployed(entry))[1]
        model = await self._at_engines(name)
        return [self._itself(model)] if model else []

    async def _deployed(self, entry: ModelEntry) -> tuple[Model | None, list[Candidate]]:
        """The model that `entry` is, and the places where it can be had; None without any."""
        if not entry.is_deployed:
            model = await self._at_engines(entry.name)
            if model is None:
                return None, []
            model = _told(model, entry)
            return model, [self._itself(model)]
        places: list[tuple[DeploymentEntry, Model]] = []
        for deployment in entry.deployments:
            found = await self._at(deployment)
            if found is not None:
                places.append((deployment, _told(self._with_price(found, deployment), entry)))
        if not places:
            return None, []
        model = _as_one(entry, [found for _, found in places])
        return model, [
            Candidate(
                model=found,
                stands_for=model,
                rank=deployment.rank,
                weight=deployment.weight,
                places_of=self.places_of(found.name) if as_compared(found.name) == as_compared(model.name) else (),
            )
            for deployment, found in places
        ]

    def _with_price(self, model: Model, deployment: DeploymentEntry | None = None) -> Model:
        """`model` with what it charges here, at the moment."""
        stated = None
        if deployment and deployment.input_price is not None and deployment.output_price is not None:
            stated = Price(input=deployment.input_price, output=deployment.output_price)
        if not (model.is_paid or stated or (self._prices and self._prices.has_said(model.engine))):
            return model
        place = self._place(model, stated)
        price = (self._prices.of(place) if self._prices else said(place, (), 0.0)).price
        is_paid = model.is_paid or bool(price and (price.input or price.output))
        if price is model.price and is_paid == model.is_paid:
            return model
        return replace(model, price=price, is_paid=is_paid)

    def _place(self, model: Model, stated: Price | None) -> Place:
        name = model.remote_name or model.name
        if made := self._made.get(model.engine):
            return place_at(made[0], name, stated=stated, listed=model.price)
        return Place(provider=model.engine, model=name, is_paid=model.is_paid, stated=stated, listed=model.price)

    def _name_of(self, deployment: DeploymentEntry) -> str:
        made = self._made.get(deployment.provider)
        if deployment.provider == LOCAL or made is None:
            return named_at(deployment)
        return made[1].name_of(deployment.remote_name)

    async def _at(self, deployment: DeploymentEntry) -> Model | None:
        if deployment.provider == LOCAL:
            for here in self._always.values():
                if model := await here.find(deployment.remote_name):
                    return model
            return None
        made = self._made.get(deployment.provider)
        engine: Engine | None = made[1] if made else self._always.get(deployment.provider)
        return await engine.find(f"{deployment.provider}/{deployment.remote_name}") if engine else None


def all_names(entry: ModelEntry) -> tuple[str, ...]:
    """Every name of a registered model, its own first."""
    return (entry.name, *entry.aliases)


def aliases_of(name: str, entry: ModelEntry | None) -> tuple[str, ...]:
    """The other names of the model that is called `name`, and that the registry knows as `entry`."""
    return tuple(one for one in all_names(entry) if as_compared(one) != as_compared(name)) if entry else ()


def named_at(deployment: DeploymentEntry) -> str:
    """The own name of a place, as far as it can be told without its provider's engine."""
    if deployment.provider == LOCAL:
        return as_listed(deployment.remote_name)
    return f"{deployment.provider}/{deployment.remote_name}"


def placed(registry: Registry, name_of: Callable[[DeploymentEntry], str]) -> dict[str, tuple[ModelEntry, ...]]:
    """The registered models that have each place, by the place's own name as names are compared; `name_of` tells it."""
    found: dict[str, dict[str, ModelEntry]] = {}
    for entry in registry.models:
        for one in entry.deployments:
            found.setdefault(as_compared(name_of(one)), {})[entry.name] = entry
    return {name: tuple(entries.values()) for name, entries in found.items()}


def others_at(
    name: str, places: Mapping[str, tuple[ModelEntry, ...]], entry: ModelEntry | None
) -> tuple[ModelEntry, ...]:
    """The registered models that have a place with this own name, without `entry`, which is called so.

    Where `entry` has its places elsewhere, it is no place of theirs.
    """
    found = places.get(as_compared(name), ())
    if not found or entry is None:
        return found
    others = tuple(one for one in found if one is not entry)
    return others if len(others) < len(found) or not entry.is_deployed else ()


def _engine_part(entry: ProviderEntry) -> ProviderEntry:
    """What of a provider its engine is made from."""
    return replace(entry, reset_at=0.0, most_calls=None, slow_after_s=None, lists_models=True, is_paid_by_default=False)


def _lacks_a_price(route: Route) -> bool:
    """Whether a place of it charges by a price that is not known, or not known by its number."""
    models = [one.model for one in route.candidates if one.model.is_paid]
    return any(model.price is None or model.price.number is None for model in models)


def _told(model: Model, entry: ModelEntry) -> Model:
    """`model` with what the registry knows better than its provider."""
    return replace(
        model,
        capabilities=entry.capabilities or model.capabilities,
        context_length=entry.context_length or model.context_length,
    )


def _as_one(entry: ModelEntry, places: Sequence[Model]) -> Model:
    """The model that all of `places` are."""
    first = places[0]
    if len(places) == 1 and first.name.lower() == entry.name.lower():
        return first
    return replace(
        first,
        name=entry.name,
        digest=_digest(entry, places),
        capabilities=_all(place.capabilities for place in places),
        takes=_all(place.takes for place in places),
        is_paid=any(place.is_paid for place in places),
        context_length=max(place.context_length for place in places),
        edition=next((place.edition for place in places if place.edition), ""),
    )


def _digest(entry: ModelEntry, places: Sequence[Model]) -> str:
    """What answers are kept under: the places with all that has a say in what they answer. A change begins anew."""
    identity = "\n".join(["registered", entry.name, *sorted({place.digest for place in places})])
    return hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()


def _in_parts(deployments: Sequence[DeploymentEntry]) -> Iterator[Sequence[DeploymentEntry]]:
    return (deployments[at : at + LOOKED_UP] for at in range(0, len(deployments), LOOKED_UP))


def _all(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*sets)
