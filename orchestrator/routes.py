"""From the name a caller writes to the places that may answer, and what each would be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

from cache.entries import CacheKey
from cache.keys import keys_for
from orchestrator.adaptation.fitting import Fit, fit
from orchestrator.capabilities import settle
from orchestrator.catalogue import Called
from orchestrator.core.errors import (
    BadRequest,
    CloudDisabled,
    ContextTooLong,
    ModelNotFound,
    OrchestratorError,
    Unsupported,
)
from orchestrator.core.presets import of_model
from orchestrator.core.scopes import out_of_scope
from orchestrator.core.types import Caller, ChatRequest, Model, Route
from orchestrator.failover import Plan
from orchestrator.modelhost.gotemplate.syntax import TemplateError, parse
from orchestrator.modelhost.names import as_listed, is_name, read_source
from orchestrator.parts import Parts
from routing.router import AUTO, choose_auto, in_turn, is_auto

Context = Literal["trim", "refuse"]

MOST_OWNERS = 8  # whose answers one caller is given by grant: each is one more look in every tier
MOST_SHOWN = 255  # characters of a name that is none: what was asked is not said again at length


async def choose(request: ChatRequest, caller: Caller, parts: Parts) -> Route:
    """The model that answers, and every place that may do it, of those that the caller's key is for.

    Raises Forbidden, ModelNotFound, CloudDisabled, or BadRequest for what cannot be a name.
    """
    if not caller.model_patterns:
        return await _choose(request, caller, parts)
    with _hidden(request.model, caller):
        return narrowed(await _choose(request, caller, parts), request.model, caller)


async def _choose(request: ChatRequest, caller: Caller, parts: Parts) -> Route:
    is_embedding = request.inputs is not None
    route = await find_route(request.model, parts)
    if route is None and is_auto(request.model):
        if not caller.may_ask(AUTO.name):
            raise out_of_scope(request.model)
        able = "embedding" if is_embedding else "completion"
        local = may_ask(await parts.local.models(), caller)
        others = parts.catalogue.known() if local else await parts.catalogue.models()
        route = parts.catalogue.with_places(choose_auto(local, may_ask(others, caller), able))
        return await parts.catalogue.priced(route)
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
    if is_auto(name) or not name.isascii():  # no model has such a name, and one that is folded could become another's
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
    return parts.catalogue.with_places(in_turn([model], "named")) if model else None


async def called(name: str, parts: Parts) -> Called:
    """What the model that `find_route` finds for a name is called, however the name is written.

    What is nowhere is called as it was written, and as lists would have it.
    """
    if is_auto(name):
        return Called("auto")
    if not name.isascii():
        return Called(name)
    if found := await parts.catalogue.called(name):
        return found
    listed = as_listed(name)
    if listed != name and (model := await parts.local.find(listed)):
        return await parts.catalogue.called(model.name) or Called(model.name)
    return Called(listed)


async def find(
    name: str, caller: Caller, parts: Parts, unavailable: str = "remote model is unavailable"
) -> Model | None:
    """The model a name means, as it is where it is asked first; `auto` is one, too. None when it is nowhere.

    Raises Forbidden when the caller's key is not for it, whether it is there or not; otherwise as `find_route`.
    """
    with _hidden(name, caller):
        if is_auto(name):
            route = in_turn([AUTO], "named")
        elif (found := await find_route(name, parts, unavailable)) is None:
            if not _may_name(name, caller):
                raise out_of_scope(name)
            return None
        else:
            route = found
        return narrowed(route, name, caller).candidates[0].model


def may_ask(models: Iterable[Model], caller: Caller) -> list[Model]:
    """Those that the caller's key is for."""
    return [model for model in models if caller.may_ask(model.name)]


@contextmanager
def _hidden(name: str, caller: Caller) -> Iterator[None]:
    """What is wrong with a model that a key is not for is no business of whoever shows it."""
    try:
        yield
    except OrchestratorError:
        if _may_name(name, caller):
            raise
        raise out_of_scope(name) from None


def _may_name(name: str, caller: Caller) -> bool:
    """Whether the key is for `name` as it was written, which may be no model's."""
    return caller.may_ask(name if ":" in name else f"{name}:latest")


def narrowed(route: Route, name: str, caller: Caller) -> Route:
    """The route without the places of models that the key is not for. Raises Forbidden, ModelNotFound."""
    left = tuple(one for one in route.candidates if caller.may_ask(one.stands_for.name))
    if len(left) == len(route.candidates) and caller.may_ask(route.model.name):
        return route
    if not left and _may_name(name, caller):
        raise ModelNotFound(f"model '{name[:MOST_SHOWN]}' can be had nowhere that this API key may ask at the moment")
    if not left or not (caller.may_ask(route.model.name) or _may_name(name, caller)):
        raise out_of_scope(name)
    model = route.model if caller.may_ask(route.model.name) else left[0].stands_for
    return replace(route, model=model, candidates=left)


async def check_template(request: ChatRequest, model: Model) -> None:
    """Raises BadRequest that says where a template cannot be read, before any model is loaded for it."""
    if request.template and request.prompt is None and "template" in model.takes:
        try:
            await asyncio.to_thread(parse, request.template)
        except TemplateError as error:
            raise BadRequest(str(error)) from None


def plans_for(
    route: Route,
    request: ChatRequest,
    caller: Caller,
    parts: Parts,
    context: Context | None = None,
) -> list[Plan]:
    """What each place would be asked, in the order of the route; without those that cannot answer it at all.

    The first is who is expected to answer: of the lowest rank, the first that leaves out least.

    context  what an operator says becomes of a question that is too long, where a place can do either.
    Raises Unsupported, or ModelNotFound, when none can.
    """
    plans: list[Plan] = []
    refusal: OrchestratorError | None = None
    for candidate in route.candidates:
        if request.inputs is not None and candidate.stands_for != route.candidates[0].stands_for:
            continue  # vectors of another model mean nothing beside those of the first
        try:
            engine = parts.catalogue.engine_of(candidate.model)
            fitted, settled, left_out = _as_taken(request, candidate.model, parts, context, is_chosen=route.is_chosen)
        except (Unsupported, ModelNotFound, ContextTooLong) as error:  # its provider may have been taken out just now
            refusal = refusal or error
            continue
        question = fitted.as_asked(settled, request)
        if candidate.model.engine == parts.local.name:  # where it waits for its turn
            settled = replace(settled, turn=caller.turn(candidate.model.name, request.address))
        plans.append(
            Plan(
                candidate=candidate,
                engine=engine,
                request=settled,
                unsupported=left_out,
                adapted=fitted.said,
                question=question,
                keys=keys_for(question, caller, candidate.stands_for),
                steps=fitted.steps,
                check=fitted.check,
            )
        )
    if not plans:
        assert refusal is not None
        raise refusal
    return sorted(plans, key=lambda plan: (plan.candidate.rank, len(plan.unsupported)))


def refusal_of(
    route: Route, request: ChatRequest, parts: Parts, context: Context | None = None
) -> OrchestratorError | None:
    """Why none of a route's places could answer, were it chosen; None where one could.

    context  as for `plans_for`.
    """
    refusal: OrchestratorError | None = None
    for candidate in route.candidates:
        try:
            _as_taken(request, candidate.model, parts, context, is_chosen=True)
        except (Unsupported, ContextTooLong) as error:
            refusal = refusal or error
        else:
            return None
    if refusal is not None and request.model != route.model.name:  # so that the words name who refuses
        return refusal_of(route, replace(request, model=route.model.name), parts, context)
    return refusal


def _as_taken(
    request: ChatRequest, model: Model, parts: Parts, context: Context | None, *, is_chosen: bool
) -> tuple[Fit, ChatRequest, tuple[str, ...]]:
    """How a question and a model are made to fit, what the model would be asked, and what was left out for that.

    Raises Unsupported or ContextTooLong, and BadRequest as `settle`.
    """
    said = request
    if context and "truncate" in model.takes:
        said = replace(request, truncate=context == "trim")
    trims = None if context is None else context == "trim"
    fitted = fit(said, model, is_chosen=is_chosen, wish=parts.adapts, trims=trims)
    return fitted, *settle(fitted.request, model, parts.unsupported)


def granted_keys(request: ChatRequest, model: Model, caller: Caller) -> Iterator[tuple[int, tuple[CacheKey, ...]]]:
    """Where others keep the answer of `model`, for each tenant whose answers the caller may be given.

    The keys are the owner's own, so nothing of an answer found there is the reader's: it goes when the owner's goes,
    and is out of reach when the grant is.
    """
    for owner, name in caller.reads_from[:MOST_OWNERS]:
        yield owner, keys_for(request, replace(caller, tenant_id=owner, tenant=name), model)


def how_to_reach(name: str, parts: Parts) -> str:
    """What stands in the way of a provider's model, to be said after what is not found; else nothing."""
    prefix, separator, _ = name.partition("/")
    if separator and (why := parts.catalogue.off.get(prefix.lower())):
        return f"; {prefix} is off: {why}"
    provider = of_model(name)
    return f"; set {provider.needs} to reach it" if provider else ""
