"""The models: those of this machine, and places elsewhere where one can be had, with what each did in a period.

A place is a model at a provider, `openai/gpt-…`: what it charges, how it is and what was asked of it hang on that.
Registered names lead to places, so a place says which names it has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from django.db import close_old_connections

from dashboard.llm.offers import Offer, Offers
from dashboard.periods import Period
from dashboard.providers.rows import ENOUGH_CALLS, MANY_FAILURES, has_answered_since, is_stale, title_of
from dashboard.rules.rows import key_of
from orchestrator.core.permissions import Reach
from orchestrator.core.prices import Price
from orchestrator.core.types import Model
from orchestrator.engines.llamacpp import LoadedModel
from orchestrator.ledger import costs
from orchestrator.ledger.stats import Latency, ModelFigures, figures
from orchestrator.pricing.order import in_force
from orchestrator.registry.entries import LOCAL, ModelEntry, Registry
from orchestrator.registry.health import newest_checks, open_breakers
from orchestrator.registry.models import OpenBreaker, ProviderCheck

if TYPE_CHECKING:
    from dashboard.llm.acts import Failed
    from dashboard.running import Here, Pace

MOST_ROWS = 40
MOST_ASKED = 2_000  # models whose requests are counted
MOST_SPENT = 500  # models whose spending is read
NOTHING = ModelFigures(
    model="",
    requests=0,
    errors=0,
    prompt_tokens=0,
    completion_tokens=0,
    latency=Latency(),
    fresh_answers=0,
    fresh=Latency(),
)
NO_FAILURES: Mapping[str, Failed] = {}
ABILITIES = {"tools": "tools", "vision": "images", "thinking": "thinking", "embedding": "vectors", "insert": "insert"}


class State(NamedTuple):
    """How a model is: ok, slow, down, off or unknown; in a word or two; and why, where it is not well."""

    name: str
    words: str
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What was asked in a period, and what it cost on the days of that."""

    at: datetime
    period: Period
    requests: int  # of all models together
    by_model: Mapping[str, ModelFigures]  # the busiest
    spent: Mapping[str, costs.Sums]  # by the full name, on the days of the period
    checks: Mapping[str, ProviderCheck]
    breakers: Mapping[str, Sequence[OpenBreaker]]
    answered_at: Mapping[str, datetime] = field(default_factory=dict)  # of each provider, its last call

    def of(self, model: str) -> ModelFigures:
        """What a model answered."""
        return self.by_model.get(model, NOTHING)

    def share(self, model: str) -> float | None:
        """Of all requests; None when there were none."""
        return self.of(model).requests / self.requests if self.requests else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """A model of this machine."""

    name: str
    state: State
    loaded: LoadedModel | None
    model: Model
    pace: Pace | None
    figures: ModelFigures
    share: float | None
    names: tuple[str, ...] = ()  # what it is registered as
    failed: Failed | None = None  # what was to be done with it lately and could not, where it still is not so

    @property
    def key(self) -> str:
        """A word for it that may stand in an id, whatever it is called."""
        return key_of(self.name)

    @property
    def unloads_at(self) -> datetime | None:
        """When it goes unless it is asked; None: it stays, or is not loaded."""
        at = self.loaded.expires_at if self.loaded else None
        return None if at is None else datetime.fromtimestamp(at, UTC)

    @property
    def stays(self) -> bool:
        """Whether it is loaded for good."""
        return self.loaded is not None and self.loaded.expires_at is None

    @property
    def is_loading(self) -> bool:
        """Whether it is on its way into memory."""
        return self.state.words == "loading"

    @property
    def is_busy(self) -> bool:
        """Whether somebody would have to be waited for."""
        return self.loaded is not None and bool(self.loaded.busy or self.loaded.waiting)

    @property
    def abilities(self) -> tuple[str, ...]:
        """What it can do beside text."""
        return abilities_of(self.model.capabilities)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A model at a provider."""

    offer: Offer
    state: State
    figures: ModelFigures
    share: float | None
    spent: costs.Sums
    price: Price | None = None  # None: nobody knows, or it was not looked up

    @property
    def name(self) -> str:
        """As it can be asked for anywhere."""
        return self.offer.name

    @property
    def key(self) -> str:
        """A word for it that may stand in an id, whatever it is called."""
        return key_of(self.name)

    @property
    def names(self) -> tuple[str, ...]:
        """What it is registered as."""
        return self.offer.names

    @property
    def provider_title(self) -> str:
        """The provider as people call it."""
        return title_of(self.offer.provider)

    @property
    def rates(self) -> str:
        """What a million tokens cost, those of the question and of the answer, in dollars without their sign."""
        return " / ".join(map(_cents, (self.price.input, self.price.output))) if self.price else ""

    @property
    def error_rate(self) -> float | None:
        """Of its requests; None without any."""
        return self.figures.errors / self.figures.requests if self.figures.requests else None

    @property
    def abilities(self) -> tuple[str, ...] | None:
        """What it can do beside text; None: nobody says."""
        model = self.offer.model
        known = self.offer.capabilities or (model.capabilities if model else None)
        return abilities_of(known) if known else None

    @property
    def context_length(self) -> int:
        """Tokens it has in view; 0: nobody says."""
        return self.offer.context_length or (self.offer.model.context_length if self.offer.model else 0)


def read_used(period: Period, reach: Reach, now: datetime, providers: Collection[str]) -> Used:
    """Read what models did, and how providers are: eight queries at most, however many models there are."""
    close_old_connections()
    found = figures(now - period.length, now, reach, MOST_ASKED)
    checks = newest_checks(list(providers))
    return Used(
        at=now,
        period=period,
        requests=found.requests,
        by_model={one.model: one for one in found.by_model},
        spent=_by_name(costs.by_model(period.days_until(now), reach, MOST_SPENT)),
        checks=checks,
        breakers=open_breakers(now),
        answered_at=found.answered_at,
    )


def locals_of(
    here: Here, used: Used | None, registry: Registry, failures: Mapping[str, Failed] = NO_FAILURES
) -> list[Local] | None:
    """Loaded ones first, as the host has them, then those that are only installed; None when nobody knows."""
    if here.loaded is None and here.installed is None:
        return None
    names = _names_here(registry)
    loaded = {one.model.name: one for one in here.loaded or ()}
    models = [one.model for one in loaded.values()]
    models += [one for one in here.installed or () if one.name not in loaded]

    def state(name: str) -> State:
        if name in loaded:
            return _state_here(loaded[name])
        if name in here.loading:
            return State("off", "loading")
        return State("unknown", "unknown") if here.loaded is None else State("off", "not loaded")

    return [
        Local(
            name=model.name,
            state=state(model.name),
            loaded=loaded.get(model.name),
            model=model,
            pace=here.paces.get(model.name),
            figures=used.of(model.name) if used else NOTHING,
            share=used.share(model.name) if used else None,
            names=names.get(model.name.lower(), ()),
            failed=_still_failed(failures.get(model.name), is_loaded=model.name in loaded),
        )
        for model in models
    ]


def places_of(offers: Offers, used: Used | None, here: Collection[str]) -> list[Place]:
    """Every place elsewhere: those that were asked first, then registered ones, those with a stated price, the rest.

    here  names of models of this machine, which are none.
    """
    known = {one.name.lower(): one for one in offers.places}
    asked = used.by_model if used else {}
    for name in asked:
        if "/" in name and name not in here and name.lower() not in known:
            provider, _, model = name.partition("/")
            known[name.lower()] = Offer(provider=provider, remote_name=model)
    rows = [_place(one, used, offers) for one in known.values()]
    return sorted(rows, key=_order)


def with_prices(rows: Iterable[Place], offers: Offers, at: datetime) -> list[Place]:
    """The same with what they charge. It may load the table of prices: not on an event loop."""
    found = [(row, offers.sold.get(row.name.lower())) for row in rows]
    return [
        replace(row, price=in_force(sold, offers.registry.stated, at.timestamp()).price) if sold else row
        for row, sold in found
    ]


def abilities_of(capabilities: Iterable[str]) -> tuple[str, ...]:
    """What a model can do beside text, in people's words."""
    had = set(capabilities)
    return tuple(words for name, words in ABILITIES.items() if name in had)


def fits(row: Place, wanted: str) -> bool:
    """Whether a row is looked for by `wanted`, in lower case."""
    return any(wanted in one.lower() for one in (row.name, row.provider_title, *row.offer.names))


def state_of(offer: Offer, used: Used | None, offers: Offers) -> State:
    """How a place is: the worst that is known of it."""
    if why := offers.off.get(offer.provider):
        return State("off", "off", f"{title_of(offer.provider)} is off: {why}")
    if offer.provider not in {one.name for one in offers.registry.providers}:
        return State("off", "off", f"{title_of(offer.provider)} is not set up")
    if used is None:
        return State("unknown", "unknown")
    mine = used.of(offer.name)
    check = used.checks.get(offer.provider)
    if check is not None and is_stale(check.at, used.at):
        check = None
    if check is not None and not check.is_ok and not has_answered_since(check, used.answered_at.get(offer.provider)):
        return State("down", "down", f"{title_of(offer.provider)} {check.words}")
    for one in used.breakers.get(offer.provider, ()):
        if one.model.lower() == offer.name.lower():
            return State("slow", "resting", f"it asked for a pause; {one.why}" if one.until else one.why)
    if mine.requests >= ENOUGH_CALLS and mine.errors / mine.requests >= MANY_FAILURES:
        return State("slow", "failing")
    if check is None and not mine.requests:
        return State("unknown", "not known")
    return State("ok", "answering" if mine.requests > mine.errors else "ready")


def _cents(dollars: Decimal) -> str:
    """To the cent, or with all of its digits where there are more."""
    exact = f"{dollars.normalize():f}"
    return exact if len(exact.partition(".")[2]) > 2 else f"{dollars:.2f}"


def _place(offer: Offer, used: Used | None, offers: Offers) -> Place:
    return Place(
        offer=offer,
        state=state_of(offer, used, offers),
        figures=used.of(offer.name) if used else NOTHING,
        share=used.share(offer.name) if used else None,
        spent=used.spent.get(offer.name, costs.Sums()) if used else costs.Sums(),
    )


def _order(row: Place) -> tuple[int, int, str]:
    of = row.offer
    group = 0 if row.figures.requests else 1 if row.spent.calls else 2 if of.names else 3 if of.is_stated else 4
    return group, -row.figures.requests, row.name


def _state_here(one: LoadedModel) -> State:
    words = "ready" if one.busy < one.slots else "busy"
    return State("slow", f"{words}, {one.waiting} waiting") if one.waiting else State("ok", words)


def _still_failed(failed: Failed | None, *, is_loaded: bool) -> Failed | None:
    """None where what was to be done has come true meanwhile: a model is loaded by any request."""
    if failed is None or (failed.act == "load" and is_loaded) or (failed.act == "unload" and not is_loaded):
        return None
    return failed


def _names_here(registry: Registry) -> Mapping[str, tuple[str, ...]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for entry in registry.models:
        for name in _called_here(entry):
            found[name.lower()].append(entry.name)
    return {name: tuple(names) for name, names in found.items()}


def _called_here(entry: ModelEntry) -> list[str]:
    if not entry.is_deployed:
        return [entry.name]
    return [one.remote_name for one in entry.deployments if one.provider in {"", LOCAL}]


def _by_name(rows: Iterable[tuple[str, str, costs.Sums]]) -> Mapping[str, costs.Sums]:
    found: dict[str, costs.Sums] = {}
    for _, model, sums in rows:
        found[model] = found.get(model, costs.Sums()) + sums
    return found
