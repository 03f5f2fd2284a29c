"""From the name a caller writes to the places that may answer, and what each would be asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cache.entries import CacheKey
from cache.keys import keys_for
from orchestrator.capabilities import settle
from orchestrator.core.errors import BadRequest, CloudDisabled, ModelNotFound, OrchestratorError, Unsupported
from orchestrator.core.presets import of_model
from orchestrator.core.types import Caller, ChatRequest, Model, Route
from orchestrator.failover import Plan
from orchestrator.modelhost.names import is_name, read_source
from orchestrator.parts import Parts
from routing.router import choose_auto, in_turn, is_auto

MOST_OWNERS = 8  # whose answers one caller is given by grant: each is one more look in every tier
MOST_SHOWN = 255  # characters of a name that is none: what was asked is not said again at length


async def choose(request: ChatRequest, parts: Parts) -> Route:
    """The model that answers. Raises ModelNotFound, CloudDisabled, or BadRequest for what cannot be a name."""
    is_embedding = request.inputs is not None
    route = await find_route(request.model, parts)
    if route is None and is_auto(request.model):
        able = "embedding" if is_embedding else "completion"
        local = await parts.local.models()
        return choose_auto(local, parts.catalogue.known() if local else await parts.catalogue.models(), able)
    if route is None and is_embedding:
        advice = how_to_reach(request.model, parts) or ", try pulling it first"
        raise ModelNotFound(f'model "{request.model[:MOST_SHOWN]}" not found{advice}')
    if route is None:
        if not is_name(request.model):
            raise BadRequest("invalid model name")
        raise ModelNotFound(f"model '{request.model}' not found{how_to_reach(request.model, parts)}")
    return route


async def find_route(name: str, parts: Parts, unavailable: str = "remote model is unavailable") -> Route | None:
    """Every place that may answer for a name; None when it is nowhere. What is there as it stands comes first.

    unavailable  what is said of a model of ollama.com.
    Raises CloudDisabled, or BadRequest for a name that says twice where its model runs.
    """
    if is_auto(name):
        return None
    if route := await parts.catalogue.route(name):
        return route
    try:
        base, source = read_source(name)
    except ValueError as error:
        raise BadRequest(str(error)) from None
    if source == "cloud":
        raise CloudDisabled.because(unavailable)
    model = await parts.local.find(base) if source == "local" else None
    return in_turn([model], "named") if model else None


async def find(name: str, parts: Parts, unavailable: str = "remote model is unavailable") -> Model | None:
    """The model a name means, as it is where it is asked first; otherwise as `find_route`."""
    route = await find_route(name, parts, unavailable)
    return route.candidates[0].model if route else None


def plans_for(route: Route, request: ChatRequest, caller: Caller, parts: Parts) -> list[Plan]:
    """What each place would be asked, in the order of the route; without those that cannot answer it at all.

    The first is who is expected to answer: of the lowest rank, the first that leaves out least.
    Raises Unsupported, or ModelNotFound, when none can.
    """
    plans: list[Plan] = []
    refusal: OrchestratorError | None = None
    for candidate in route.candidates:
        if request.inputs is not None and candidate.stands_for != route.candidates[0].stands_for:
            continue  # vectors of another model mean nothing beside those of the first
        try:
            engine = parts.catalogue.engine_of(candidate.model)
            settled, left_out = settle(request, candidate.model, parts.unsupported)
        except (Unsupported, ModelNotFound) as error:  # its provider may have been taken out just now
            refusal = refusal or error
            continue
        keys = keys_for(settled, caller, candidate.stands_for)
        plans.append(Plan(candidate=candidate, engine=engine, request=settled, unsupported=left_out, keys=keys))
    if not plans:
        assert refusal is not None
        raise refusal
    return sorted(plans, key=lambda plan: (plan.candidate.rank, len(plan.unsupported)))


def granted_keys(plan: Plan, caller: Caller) -> Iterator[tuple[int, tuple[CacheKey, ...]]]:
    """Where others keep the answer to what `plan` asks, for each tenant whose answers the caller may be given.

    The keys are the owner's own, so nothing of an answer found there is the reader's: it goes when the owner's goes,
    and is out of reach when the grant is.
    """
    for owner, name in caller.reads_from[:MOST_OWNERS]:
        yield owner, keys_for(plan.request, replace(caller, tenant_id=owner, tenant=name), plan.candidate.stands_for)


def how_to_reach(name: str, parts: Parts) -> str:
    """What stands in the way of a provider's model, to be said after what is not found; else nothing."""
    prefix, separator, _ = name.partition("/")
    if separator and (why := parts.catalogue.off.get(prefix.lower())):
        return f"; {prefix} is off: {why}"
    provider = of_model(name)
    return f"; set {provider.needs} to reach it" if provider else ""
