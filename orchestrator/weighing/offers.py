"""The models that the router chooses among: few of all there are, and none that another beats in both.

There may be hundreds. One that is dearer than another and no abler is never the best, so of those nobody has seen
answering the front is enough: rising in price and in ability. What was seen, and what is here, is looked at anyway.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from orchestrator.catalogue import Catalogue
from orchestrator.core.clock import Clock
from orchestrator.core.types import Caller, Model
from orchestrator.engines.llamacpp import LlamaCpp
from routing.predictor.standing import Standing, standing_of
from routing.rules.verdict import Verdict

HOLDS_S = 1.0
MOST_LOCAL = 6
MOST_SEEN = 6
MOST_CANDIDATES = 12
MOST_PATTERNS = 256  # for which it is remembered who may be asked
Patterns = tuple[object, ...]
FEW = 3  # so many are wanted at least, that one may fail
_PARAMETERS = re.compile(r"([\d.]+)\s*([KMBT])", re.IGNORECASE)
_SCALE = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


@dataclass(frozen=True, slots=True)
class Offer:
    """A model, and what is expected of it before it was seen. Rates are dollars for a million tokens.

    places_of  the registered models that it is a place of, by their own names.
    """

    model: Model
    standing: Standing
    is_local: bool
    is_priced: bool
    input: float = 0.0
    output: float = 0.0
    places_of: tuple[str, ...] = ()

    def cost(self, prompt: int, completion: int) -> float:
        """About what a call costs, in millionths of a dollar."""
        return self.input * prompt + self.output * completion


class Shelf:
    """All offers of this process, looked at once a second."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until = float("-inf")
        self._offers: Sequence[Offer] = ()
        self._allowed: dict[Patterns, list[Offer]] = {}

    async def offers(self, local: LlamaCpp, catalogue: Catalogue) -> Sequence[Offer]:
        """Those that complete text, as far as they are known; no provider is asked."""
        now = self._clock.monotonic()
        if now >= self._until:
            models = [*await local.models(), *await catalogue.choosable()]
            self._offers, self._until = offers_of(models, local.name, catalogue.places_of), now + HOLDS_S
            self._allowed = {}
        return self._offers

    def allowed(self, caller: Caller, verdict: Verdict, never: Sequence[str]) -> list[Offer]:
        """Of those that were offered last, those of `allowed`: to match hundreds of names takes milliseconds."""
        patterns = (caller.model_patterns, verdict.only, verdict.never, tuple(never), verdict.is_local_only)
        if any(not limit.amount for limit in caller.limits):
            return allowed(self._offers, caller, verdict, never)
        found = self._allowed.get(patterns)
        if found is None:
            if len(self._allowed) >= MOST_PATTERNS:
                self._allowed.clear()
            found = self._allowed[patterns] = allowed(self._offers, caller, verdict, never)
        return found


def offers_of(models: Iterable[Model], local: str, places_of: Callable[[str], tuple[str, ...]]) -> list[Offer]:
    """Those that complete text, each name once, as they are offered.

    local      the engine of what is here.
    places_of  tells which registered models a model, by its own name, is a place of.
    """
    distinct: dict[str, Model] = {}
    for model in models:
        if "completion" in model.capabilities:
            distinct.setdefault(model.name.lower(), model)
    return [offer_of(model, local, places_of(model.name)) for model in distinct.values()]


def offer_of(model: Model, local: str, places_of: tuple[str, ...] = ()) -> Offer:
    """A model as it is offered. `local` is the engine of what runs here; of the rest see `Offer`."""
    is_local, price = model.engine == local, model.price
    rates = (float(price.input), float(price.output)) if price else (0.0, 0.0)
    standing = _standing(model.name, model.parameter_size, rates[1], is_local)
    return Offer(model, standing, is_local, price is not None or not model.is_paid, *rates, places_of)


@lru_cache(maxsize=8192)
def _standing(name: str, size: str, usd: float, is_local: bool) -> Standing:
    found = _PARAMETERS.match(size)
    parameters = float(found[1]) * _SCALE[found[2].upper()] if found else None
    return standing_of(name, parameters=parameters, usd_per_million=usd or None, is_local=is_local)


def allowed(offers: Iterable[Offer], caller: Caller, verdict: Verdict, never: Collection[str]) -> list[Offer]:
    """Those that the caller's key is for, and that neither a rule nor the router's own list excludes.

    A place of a model that is among them is left out: it would be weighed twice, and what it answers under either name
    be learned of the wrong one. It stays where that is a choice: where the one runs here and the other elsewhere, or
    where the model was given less than its place can do.
    """
    found = list(offers)
    if verdict.is_local_only:
        found = [one for one in found if one.is_local]
    if caller.model_patterns:
        found = [one for one in found if caller.may_ask(one.model.name)]
    if verdict.only or verdict.never:
        found = [one for one in found if verdict.may_ask(one.model.name) and not _is_excluded(one, verdict)]
    if never:
        own = Verdict(never=tuple(never))
        found = [one for one in found if own.may_ask(one.model.name) and not _is_excluded(one, own)]
    if any(not limit.amount for limit in caller.limits):
        found = [one for one in found if not _is_shut(one.model.name, caller)]
    if any(one.places_of for one in found):
        others = {one.model.name: one for one in found}
        found = [one for one in found if not any(_is_place(one, others.get(name)) for name in one.places_of)]
    return found


def _is_place(one: Offer, other: Offer | None) -> bool:
    """Whether it need not be weighed beside the other that has it as a place, and is no place of it in turn."""
    if other is None or other.is_local != one.is_local or one.model.name in other.places_of:
        return False
    room, rooms = one.model.context_length, other.model.context_length
    can_as_much = other.model.capabilities >= one.model.capabilities and other.model.takes >= one.model.takes
    return can_as_much and (not rooms or 0 < room <= rooms)


def _is_excluded(one: Offer, verdict: Verdict) -> bool:
    """Whether `never` names a model that it is a place of."""
    return any(map(verdict.excludes, one.places_of))


def _is_shut(model: str, caller: Caller) -> bool:
    """Whether a limit lets nothing through to it."""
    return any(
        not limit.amount and limit.kind != "cache_bytes" and limit.is_about(model, "") for limit in caller.limits
    )


def shortlist(offers: Sequence[Offer], seen: Collection[str], prompt: int, completion: int) -> list[Offer]:
    """Those that are worth a closer look, `MOST_CANDIDATES` at most.

    seen  names of models that were learned of.
    """
    chosen = [one for one in offers if one.is_local][:MOST_LOCAL]
    others = [one for one in offers if not one.is_local and one.is_priced]
    chosen += [one for one in others if one.model.name in seen][:MOST_SEEN]
    taken = {one.model.name for one in chosen}
    left = sorted(
        (one for one in others if one.model.name not in taken),
        key=lambda one: (one.cost(prompt, completion), -one.standing.ability),
    )
    while left and len(chosen) < MOST_CANDIDATES:
        front, rest, best = list[Offer](), list[Offer](), float("-inf")
        for one in left:
            is_better = one.standing.ability > best
            (front if is_better else rest).append(one)
            best = max(best, one.standing.ability)
        chosen += front[-(MOST_CANDIDATES - len(chosen)) :]
        left = rest
        if len(chosen) >= FEW:
            break
    unpriced = [one for one in offers if not (one.is_local or one.is_priced)]
    return chosen + unpriced[: max(FEW - len(chosen), 0)]
