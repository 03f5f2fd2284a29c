"""From what the rules say to the places that may answer: what a rule names, else what the caller asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.choosing.ruled import ForbiddenByRule, Ruled, check_allowed
from orchestrator.core.dollars import dollars
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.scopes import out_of_scope
from orchestrator.core.types import Caller, Candidate, ChatRequest, Route
from orchestrator.failover import Plan
from orchestrator.ledger.bills import price_of
from orchestrator.ledger.estimate import at_most
from orchestrator.parts import Parts
from orchestrator.pictures import named
from orchestrator.routes import check_template, choose, plans_for
from routing.decision import Bar
from routing.router import AUTO, in_turn, is_auto
from routing.rules.verdict import Verdict

TOO_DEAR = "Set a smaller max_tokens (num_predict), or ask the operator about this rule."
PRICELESS = "Ask the operator to say its price."
FETCHED = (
    "nothing may leave this machine, and a picture that is named by its address would be fetched from elsewhere."
    " Send it as base64."
)
MOST_NOTE = 200  # characters of why a model could not be had
# What a bar is called among the actions of a rule.
ACTIONS = {"privacy": "local_only", "forbidden": "only", "price": "most_cost"}


@dataclass(slots=True)
class Way:
    """The places that may answer, and what each would be asked.

    plans  empty while who answers is the router's choice: it is made when the cache has nothing.
    """

    route: Route
    plans: Sequence[Plan] = ()

    @property
    def is_open(self) -> bool:
        """Whether the router has yet to choose."""
        return not self.plans


async def way_of(ruled: Ruled, caller: Caller, parts: Parts) -> Way:
    """Where the request goes. Raises ForbiddenByRule, and what `routes.choose` and `plans_for` raise.

    A model that a rule names and that cannot be had is passed over: for the next one that the rule names, then for
    what the caller asked for. The notes say so.
    """
    verdict = ruled.verdict
    check_allowed(ruled)
    _check_pictures(ruled)
    if verdict.use:
        if way := await _by_rule(ruled, verdict.use, caller, parts):
            ruled.named_by = verdict.use_rule
            return way
        ruled.notes.append(f'No model of rule "{verdict.use_rule}" could be had, so the caller\'s own was taken.')
    if is_auto(ruled.request.model) and ruled.request.inputs is None:
        if not caller.may_ask(AUTO.name):
            raise out_of_scope(ruled.request.model)
        return Way(in_turn([AUTO], "auto"))
    way = await _to(ruled.request.model, ruled, caller, parts)
    if verdict.use:
        way.route = replace(way.route, reason=f'{way.route.reason}; rule "{verdict.use_rule}" in vain')
    return way


def _check_pictures(ruled: Ruled) -> None:
    """Raises ForbiddenByRule where a picture would be fetched for what has to stay here: its address may tell of it."""
    if ruled.verdict.is_local_only and named(ruled.request):
        rule = rule_of(ruled.verdict, Bar("privacy", ""))
        raise ForbiddenByRule(f'Forbidden by rule "{rule}": {FETCHED}')


async def _by_rule(ruled: Ruled, names: Sequence[str], caller: Caller, parts: Parts) -> Way | None:
    """The models of a rule, in their order; None when none can be had."""
    verdict, found = ruled.verdict, list[Way]()
    arm = f": {verdict.arm}" if verdict.arm else ""
    reason = f'rule "{verdict.use_rule}"{arm}'
    for name in names:
        if is_auto(name) and ruled.request.inputs is None:
            if found:
                break  # it is the choice where none before it can be had
            return Way(in_turn([AUTO], reason))
        try:
            found.append(await _to(name, ruled, caller, parts))
        except OrchestratorError as error:
            ruled.notes.append(f"{name}: {str(error)[:MOST_NOTE]}")
    if not found:
        return None
    route = replace(joined([way.route for way in found]), reason=reason, is_chosen=True)
    plans = plans_for(route, ruled.request, caller, parts, ruled.verdict.context)
    return Way(route, plans)


async def _to(name: str, ruled: Ruled, caller: Caller, parts: Parts) -> Way:
    """The way to one model. Raises why there is none."""
    request = ruled.request if name == ruled.request.model else replace(ruled.request, model=name)
    route = within(await choose(request, caller, parts), request, ruled.verdict, parts)
    await check_template(request, route.model)
    return Way(route, plans_for(route, ruled.request, caller, parts, ruled.verdict.context))


def joined(routes: Sequence[Route]) -> Route:
    """The places of several models: all of the first come before those of the next. Each place is asked once."""
    candidates: dict[tuple[str, str], Candidate] = {}
    last = -1
    for route in routes:
        ranks = [replace(one, rank=last + 1 + one.rank) for one in route.candidates]
        for one in ranks:
            candidates.setdefault((one.model.engine, one.model.name), one)
        last = max(one.rank for one in ranks)
    return replace(routes[0], candidates=tuple(candidates.values()))


def within(route: Route, request: ChatRequest, verdict: Verdict, parts: Parts) -> Route:
    """The route without the places that rules exclude. Raises ForbiddenByRule when none is left."""
    if not (verdict.is_local_only or verdict.only or verdict.never or verdict.most_micros is not None):
        return route
    barred: Bar | None = None
    left: list[Candidate] = []
    for one in route.candidates:
        bar = bar_of(one, request, verdict, parts)
        barred = barred or bar
        if bar is None:
            left.append(one)
    if barred is None:
        return route
    rule = rule_of(verdict, barred)
    if not left:
        raise ForbiddenByRule(f'Forbidden by rule "{rule}": {barred.why}')
    model = route.model if any(one.stands_for == route.model for one in left) else left[0].stands_for
    return replace(route, model=model, candidates=tuple(left), reason=f'{route.reason}; rule "{rule}"')


def bar_of(one: Candidate, request: ChatRequest, verdict: Verdict, parts: Parts) -> Bar | None:
    """Why rules exclude a place; None when they do not.

    Where a model has a name of its own, `never` is about either name, whichever of the two was asked for.
    """
    model, name = one.model, one.stands_for.name
    if verdict.is_local_only and model.engine != parts.local.name:
        return Bar("privacy", f"nothing may leave this machine, and {name} runs elsewhere.")
    if not (verdict.may_ask(name) and (model.name == name or not verdict.excludes(model.name))):
        return Bar("forbidden", f"{name} may not answer this.")
    if other := next(filter(verdict.excludes, one.places_of), ""):
        return Bar("forbidden", f"{name} may not answer this ({name} is a place of {other}).")
    if verdict.most_micros is not None and model.is_paid:
        allows, price = f"a call may cost {dollars(verdict.most_micros)} USD", price_of(model)
        if price is None:
            return Bar("price", f"{allows}, and nobody knows what {name} charges. {PRICELESS}")
        most = price.most(*at_most(request, model))
        if most > verdict.most_micros:
            return Bar("price", f"{allows}, and one of {name} may come to {dollars(most)}. {TOO_DEAR}")
    return None


def rule_of(verdict: Verdict, bar: Bar) -> str:
    """The first rule that has such an action; the bar of a name may come of either of two."""
    wanted = {"only", "never"} if bar.word == "forbidden" else {ACTIONS.get(bar.word, "")}
    return next((one.rule for one in verdict.matched if wanted & set(one.did)), "")
