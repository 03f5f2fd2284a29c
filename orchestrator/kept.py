"""What the cache has for a question, as an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cache.entries import CacheKey, Hit
from orchestrator.answers import Answer, each, recorded
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.types import Candidate, ChatRequest, Model, Reply, Usage
from orchestrator.ledger.bills import price_of
from orchestrator.ledger.savings import of_hit
from orchestrator.ledger.writer import Entry
from orchestrator.parts import Parts
from orchestrator.routes import find_route, granted_keys
from routing.router import AUTO


@dataclass(frozen=True, slots=True)
class Sought:
    """What is looked for in the cache.

    model   whose answer it is to be, by its name and digest; of a choice that is left to us, the choice itself.
    places  that would be asked otherwise, the first one first; () while nobody has chosen.
    """

    request: ChatRequest
    keys: tuple[CacheKey, ...]
    model: Model
    places: tuple[Candidate, ...] = ()

    @property
    def is_choice(self) -> bool:
        """Whether whoever answers was not asked for by name, so that the answer itself has to say who it was."""
        return self.model.engine == AUTO.engine


@dataclass(frozen=True, slots=True)
class Found:
    """What the cache has, and the places that would be asked otherwise, the first one first."""

    hit: Hit
    places: Sequence[Candidate]


async def find(sought: Sought, entry: Entry, parts: Parts) -> Found | None:
    """What is kept: the caller's own, else what a tenant keeps that lets it read; that stays the owner's."""
    request = sought.request
    if found := await _of(sought, sought.keys, entry, parts):
        return found
    if request.control.read:
        for owner, keys in granted_keys(request, sought.model, entry.caller):
            if found := await _of(sought, keys, entry, parts):
                entry.granted_by = owner
                return found
    return None


async def _of(sought: Sought, keys: Sequence[CacheKey], entry: Entry, parts: Parts) -> Found | None:
    hit = await parts.cache.find(keys, sought.request.control, sought.request.cap, entry.tiers)
    if hit is None:
        return None
    reply = hit.entry.reply
    if not sought.is_choice:  # of the places of a model one may be barred from this request that answered another
        is_theirs = any(one.model.name == reply.model for one in sought.places)
        return Found(hit, sought.places) if is_theirs else None
    places = await _who_answered(reply, parts)
    return Found(hit, places) if places else None


def mark_of(model: Model) -> tuple[str, ...]:
    """What tells a model from all others, and from what it is once it was changed or is told another date."""
    return model.name, model.digest, model.edition


async def _who_answered(reply: Reply, parts: Parts) -> Sequence[Candidate]:
    """The place that gave an answer which was left to us; () where it could not be chosen now, or is another by now.

    Of what was kept without its mark nobody knows that.
    """
    if not reply.of:
        return ()
    try:
        route = await find_route(reply.of[0], parts)
    except OrchestratorError:
        return ()
    places = route.candidates if route else ()
    return [one for one in places if one.model.name == reply.model and mark_of(one.stands_for) == reply.of]


def from_cache(found: Found, entry: Entry, parts: Parts, timing: dict[str, float]) -> Answer:
    """What was found, as the answer."""
    hit, places = found.hit, found.places
    entry.tier = hit.tier
    if not entry.granted_by:  # the owner's key is shown to nobody else
        entry.cache_key = hit.entry.key.hash
    entry.model = hit.entry.reply.model
    entry.provider = next((one.model.engine for one in places if one.model.name == entry.model), "")
    model = places[0].model
    entry.saving = of_hit(hit.entry.reply.done, model, price_of(model))
    spent_ns = max(round((parts.clock.monotonic() - entry.started) * 1e9), 1)
    chunks = each(*as_of_now(hit.entry.reply, spent_ns).chunks())
    return Answer(entry, recorded(chunks, entry, parts), hit=hit, timing=timing)


def as_of_now(reply: Reply, spent_ns: int) -> Reply:
    """The kept answer with the durations of this request, in nanoseconds; its counts stay."""
    kept = reply.done.usage
    usage = Usage(
        is_estimated=kept.is_estimated,
        prompt_tokens=kept.prompt_tokens,
        completion_tokens=kept.completion_tokens,
        load_ns=1,
        prompt_ns=spent_ns,
        eval_ns=spent_ns,
    )
    return replace(reply, done=replace(reply.done, usage=usage))
