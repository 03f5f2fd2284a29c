"""The router's choice, for requests that leave it to us: who is asked first, who after that, and why."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from orchestrator.choosing.facts import analysed_if_possible, said_last
from orchestrator.choosing.ruled import ForbiddenByRule, Ruled
from orchestrator.choosing.ways import bar_of, joined, rule_of
from orchestrator.core.errors import ContextTooLong, ModelNotFound, NoneAvailable, OrchestratorError
from orchestrator.core.types import Caller, Candidate, ChatRequest, Model, Route, Usage
from orchestrator.ledger.bills import price_of
from orchestrator.ledger.estimate import AN_ANSWER, about
from orchestrator.parts import Parts
from orchestrator.routes import narrowed, refusal_of
from orchestrator.weighing.offers import Offer, allowed, offers_of, shortlist
from routing.deciding import decide, draws_of
from routing.decision import Bar, CandidateView, Decision, DecisionInputs, HealthWord
from routing.router import AUTO
from routing.rules.document import AutoPart
from routing.rules.verdict import Aim, Verdict

BAND = 0.05  # of P(good): with no more between them a local model is tried first, and what it says decides
MOST_PLACES = 3  # models that are asked in turn
LOOKED_AT_S = 15.0  # until a provider that is down is looked at again, half of the usual time between two looks
NONE = "There is no model to choose from: install one, or set a provider's key."
NONE_IN_SCOPE = "This API key may ask for 'auto' and for no model there is; ask your operator to allow it one."
_USUAL = AutoPart.model_validate({})


@dataclass(slots=True)
class Choice:
    """What was chosen, and everything that it followed from.

    place      where the question lies, packed: what is learned from.
    abilities  of the candidates, by name: where what is learned of each starts from.
    names      of the candidates, by what each is called where it can be had, if that is something else.
    """

    route: Route
    inputs: DecisionInputs
    decision: Decision
    place: bytes | None = None
    abilities: dict[str, float] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)


def auto_for(said: Ruled, caller: Caller) -> Model:
    """What an answer is kept under that the router chose who gives: whoever might be given another is another."""
    verdict = said.verdict
    known: list[Any] = [
        verdict.version,  # and with it how the router chooses
        verdict.is_local_only,
        verdict.only,
        sorted(verdict.never),
        verdict.most_micros,
        [verdict.aim.share, verdict.aim.quality] if verdict.aim else None,
        verdict.cascade,
        verdict.context,
        sorted(caller.model_patterns),
        sorted(limit.model for limit in caller.limits if not limit.amount),
    ]
    # Any may answer, also one that tells token ids only where it is asked as we are.
    return replace(AUTO, digest=hashlib.sha256(orjson.dumps(known)).hexdigest(), takes=frozenset({"endpoint"}))


async def choose_among(said: Ruled, reason: str, caller: Caller, parts: Parts, *, is_trial: bool = False) -> Choice:
    """Who answers, of all who could.

    Raises ModelNotFound, NoneAvailable where somebody could who is down, ForbiddenByRule where rules leave nobody, and
    Unsupported or ContextTooLong where whoever is left would be refused.

    reason    why the choice is ours.
    is_trial  nobody will be asked: it does not count where the slider stands.
    """
    request, verdict, router = said.request, said.verdict, parts.router
    settings = said.rules.document.auto if said.rules is not None else _USUAL
    offers = await router.shelf.offers(parts.local, parts.catalogue)
    left = router.shelf.allowed(caller, verdict, settings.never)
    if not left and not verdict.is_local_only:  # providers that never told what they have are asked now
        offers = offers_of(await parts.catalogue.models(), parts.local.name, parts.catalogue.places_of)
        left = allowed(offers, caller, verdict, settings.never)
    prompt, completion = about(request), request.cap or AN_ANSWER
    few = shortlist(left, router.seen, prompt, completion)
    places = await _places(few, caller, parts)
    if not places:
        raise _nobody(offers, verdict, caller)
    text = said_last(request)
    judged = await router.judged(text, parts.local)
    said.notes += judged.notes
    said.analysis = await analysed_if_possible(request, said.notes, judged.vector)
    p_good = await router.p_good(text, judged, [one for one, _ in places], caller.tenant_id, said.notes)
    usage = Usage(prompt_tokens=prompt, completion_tokens=completion)
    permitted = [_permitted(route, request, verdict, parts) for _, route in places]
    barred = [[*_lacks(route.model, request, usage), *bars] for route, bars in permitted]
    refusals = [
        None if bars else refusal_of(route, request, parts, verdict.context)
        for (route, _), bars in zip(permitted, barred, strict=True)
    ]
    views = tuple(
        _view(one, route, chance, usage, bars if refusal is None else [_bar_of(refusal)], parts)
        for (one, _), chance, (route, _), bars, refusal in zip(places, p_good, permitted, barred, refusals, strict=True)
    )
    aim = verdict.aim or Aim(share=settings.aim.share, quality=settings.aim.quality)
    cascades = settings.cascade if verdict.cascade is None else verdict.cascade
    inputs = DecisionInputs(
        candidates=views,
        cost_weight=settings.dollar_weight,
        latency_weight=settings.second_weight,
        is_local_only=verdict.is_local_only,
        threshold=router.threshold(caller.tenant_id, aim),
        band=BAND if cascades else 0.0,
        explore_share=settings.explore,
        explore_draw=draws_of(request.request_id),
    )
    decision = decide(inputs)
    if not is_trial:
        router.scored(caller.tenant_id, decision)
    by_name = {one.model.name: route for (one, _), (route, _) in zip(places, permitted, strict=True)}
    abilities = {one.model.name: one.standing.ability for one, _ in places}
    asked = _in_turn(decision, views)
    chosen = [by_name[name] for name in asked]
    if not chosen:
        raise _all_barred(decision, verdict, next(filter(None, refusals), None))
    names = names_of(dict.fromkeys((*asked, *by_name)), by_name)
    reason = f"{reason}: {shortly(inputs, decision)}"
    route = await parts.catalogue.priced(replace(joined(chosen), reason=reason, is_chosen=True))
    return Choice(route, inputs, decision, judged.place, abilities, names)


def names_of(in_turn: Iterable[str], routes: Mapping[str, Route]) -> dict[str, str]:
    """Which model each place answers for, by what it is called there, if that is something else.

    A place that several of them have is asked for the first, as `joined` has it.
    """
    names: dict[str, str] = {}
    for name in in_turn:
        for place in routes[name].candidates:
            if place.model.name not in routes:
                names.setdefault(place.model.name, name)
    return names


def _in_turn(decision: Decision, views: Sequence[CandidateView]) -> Sequence[str]:
    """Who is asked, one after the other. Budgets may refuse all that is paid for, so one that is free is among them."""
    names, free = decision.names, {one.name for one in views if one.cost_micros == 0}
    chosen = names[:MOST_PLACES]
    if free.isdisjoint(chosen) and (other := next((name for name in names if name in free), None)):
        chosen = (*chosen[:-1], other)
    return chosen


def shortly(inputs: DecisionInputs, decision: Decision) -> str:
    """Why the first is the first, in the few words that a header has room for."""
    first = next(one for one in inputs.candidates if one.name == decision.names[0])
    if decision.is_explored:
        return "drawn by chance"
    if len(decision.names) == 1:
        return "nobody else may answer" if len(inputs.candidates) > 1 else "there is no other"
    if decision.cascade is not None:
        return f"local is tried first ({first.p_good:.2f})"
    if inputs.threshold is None or decision.gain is None:
        return f"the best by its score ({first.p_good:.2f})"
    if decision.gain >= inputs.threshold:
        return f"the dear side may add {decision.gain:.2f}"
    return f"{'local' if first.is_local else 'a cheap one'} is good enough ({first.p_good:.2f})"


async def _places(few: Sequence[Offer], caller: Caller, parts: Parts) -> list[tuple[Offer, Route]]:
    """The places where each can be had that the caller's key is for; without those that can be had nowhere."""
    found = []
    for one in few:
        try:
            route = await parts.catalogue.places(one.model.name)
            if route is not None:
                own = tuple(place for place in route.candidates if place.stands_for.name == route.model.name)
                route = replace(route, candidates=own or route.candidates)
                found.append((one, narrowed(route, route.model.name, caller)))
        except OrchestratorError:  # it is gone since the list was made, or its provider is off
            continue
    return found


def _view(one: Offer, route: Route, p_good: float, usage: Usage, bars: Sequence[Bar], parts: Parts) -> CandidateView:
    first = route.candidates[0]
    return CandidateView(
        name=one.model.name,
        provider=first.model.engine,
        is_local=first.model.engine == parts.local.name,
        tier=one.standing.tier,
        p_good=p_good,
        cost_micros=_cost(first.model, usage),
        first_token_s=_first_s(route, parts),
        health=_health(route, parts),
        bars=tuple(bars),
    )


def _lacks(model: Model, request: ChatRequest, usage: Usage) -> list[Bar]:
    """What it cannot do of what is asked."""
    bars = []
    if request.tools and "tools" not in model.capabilities:
        bars.append(Bar("tools", "it cannot call functions"))
    if any(message.images for message in request.messages) and "vision" not in model.capabilities:
        bars.append(Bar("vision", "it cannot see"))
    if request.format and "format" not in model.takes:
        bars.append(Bar("format", "it cannot be held to a format"))
    if 0 < model.context_length < usage.prompt_tokens:
        bars.append(Bar("context", f"it has room for {model.context_length} tokens of about {usage.prompt_tokens}"))
    return bars


def _bar_of(refusal: OrchestratorError) -> Bar:
    return Bar("context" if isinstance(refusal, ContextTooLong) else "other", str(refusal))


def _permitted(route: Route, request: ChatRequest, verdict: Verdict, parts: Parts) -> tuple[Route, Sequence[Bar]]:
    """The route without the places that rules exclude; with why, where that would be all of them."""
    bars = [bar_of(one, request, verdict, parts) for one in route.candidates]
    left = tuple(one for one, bar in zip(route.candidates, bars, strict=True) if bar is None)
    return (replace(route, candidates=left), ()) if left else (route, [bar for bar in bars[:1] if bar is not None])


def _cost(model: Model, usage: Usage) -> int | None:
    if not model.is_paid:
        return 0
    price = price_of(model)
    return price.of(usage) if price else None


def _first_s(route: Route, parts: Parts) -> float | None:
    """What the quickest of its places lately took to begin; None where nobody asked any."""
    known = [parts.places.known(one) for one in route.candidates]
    return min((place.load.first_s for place in known if place is not None and place.load.first_s > 0), default=None)


def _health(route: Route, parts: Parts) -> HealthWord:
    """How the best of its places is."""
    words = {_health_of(one, parts) for one in route.candidates}
    order: tuple[HealthWord, ...] = ("well", "unknown", "slow", "failing", "down")
    return next(word for word in order if word in words)


def _health_of(one: Candidate, parts: Parts) -> HealthWord:
    place = parts.places.known(one)
    if parts.places.is_down(one):
        return "down"
    if place is None:
        return "unknown"
    if place.shut() is not None:
        return "failing"
    if parts.places.is_slow(one.model.engine, place.load.first_s):
        return "slow"
    return "well" if place.answered_at > float("-inf") else "unknown"


def _nobody(offers: Sequence[Offer], verdict: Verdict, caller: Caller) -> OrchestratorError:
    """Why there is no candidate at all."""
    ruled_out = verdict.is_local_only or verdict.only or verdict.never
    if not (offers and ruled_out):
        return ModelNotFound(NONE_IN_SCOPE if offers and caller.model_patterns else NONE)
    rule = rule_of(verdict, Bar("privacy" if verdict.is_local_only else "forbidden", ""))
    return ForbiddenByRule(
        f'Forbidden by rule "{rule}": none of the models that may answer this can be had. Ask the operator to'
        " change this rule, or for one of these models."
    )


def _all_barred(decision: Decision, verdict: Verdict, refusal: OrchestratorError | None) -> OrchestratorError:
    """Why each candidate was excluded.

    refusal  what one would be refused with that is excluded for nothing else.
    """
    bars = [(choice.name, bar) for choice in decision.choices for bar in choice.bars[:1]]
    by_rule = [bar for _, bar in bars if rule_of(verdict, bar)]
    said = "; ".join(f"{name}: {bar.why}" for name, bar in bars)[:400]
    if by_rule and len(by_rule) == len(bars):
        return ForbiddenByRule(f'Forbidden by rule "{rule_of(verdict, by_rule[0])}": {by_rule[0].why}')
    if any(choice.bars and all(bar.word == "health" for bar in choice.bars) for choice in decision.choices):
        return NoneAvailable(f"No model that could answer this does at the moment. {said}", retry_after_s=LOOKED_AT_S)
    return type(refusal or ModelNotFound())(f"No model that could be chosen can answer this. {said}")
