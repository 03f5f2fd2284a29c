"""What the rules make of a request, before anything else is done with it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from orchestrator.catalogue import Called
from orchestrator.choosing.facts import ANALYSED, analysed_if_possible, facts_of
from orchestrator.core.errors import Forbidden
from orchestrator.core.types import CacheControl, Caller, ChatRequest
from orchestrator.parts import Parts
from orchestrator.routes import called
from routing.analysis.types import Analysis
from routing.rules.compiled import RuleSet
from routing.rules.facts import MOST_CONVERSATION, Facts
from routing.rules.verdict import Verdict

if TYPE_CHECKING:
    from orchestrator.choosing.auto import Choice

NO_VERDICT = Verdict()
UNREAD = (
    f"The conversation cannot be read whole: rules read {MOST_CONVERSATION:,} characters of it, its beginning and end."
)
MINUTE_S = 60.0  # hours begin and end at full ones, in every zone


class ForbiddenByRule(Forbidden):
    """A rule of the operator's forbids it."""

    kind = "forbidden_by_rule"


@dataclass(frozen=True, slots=True)
class Look:
    """What came of the last look at an answer on trial.

    before    how likely it was good before it was made.    after  and once it was seen.
    floor     how likely it had to be.    is_taken  it was; else another was asked.
    """

    model: str
    before: float
    after: float
    floor: float
    is_taken: bool


@dataclass(slots=True)
class Ruled:
    """A request as the rules let it be, and what they said.

    rules     those that were asked; None: there are none.
    facts     what they were asked about; None: nobody looked.
    analysis  of the text, where somebody asked for it.
    choice    of the router, where it was asked.
    trial     what was seen of an answer that was on trial.
    named_by  the rule that named who is asked, and found somebody.
    notes     what is to be known of how it was decided, in words.
    """

    request: ChatRequest
    verdict: Verdict = NO_VERDICT
    rules: RuleSet | None = None
    facts: Facts | None = None
    analysis: Analysis | None = None
    choice: Choice | None = None
    trial: Look | None = None
    named_by: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def same_until(self) -> float | None:
        """Until when rules say the same of the same bytes, in seconds since the epoch; None: as long as they hold.

        A conversation stays on its side of a split, and so does a key. Whether the next request is drawn is another
        question each time.
        """
        if self.facts is None or self.rules is None:
            return None
        if "budget_left" in self.rules.needs or _draws_each(self.rules):
            return self.facts.at
        return (self.facts.at // MINUTE_S + 1) * MINUTE_S if "time" in self.rules.needs else None


async def ruled(request: ChatRequest, caller: Caller, parts: Parts) -> Ruled:
    """Ask the rules. Raises ForbiddenByRule, and Busy while none could be read yet."""
    if parts.rules is None:
        return Ruled(request)
    await parts.rules.catch_up()
    rules = parts.rules.rules()
    if not rules.document.rules:
        return Ruled(request, Verdict(version=rules.version) if rules.version else NO_VERDICT, rules)
    found = Ruled(request, rules=rules)
    if request.inputs is None and not rules.needs.isdisjoint(ANALYSED):
        found.analysis = await analysed_if_possible(request, found.notes)
    left: float | None = 1.0
    if "budget_left" in rules.needs:
        left = await parts.router.budgets_left.of(caller, parts.reads)
        if left is None:
            found.notes.append("What is left of budgets was not known in time; rules were told: all of it.")
    found.facts = facts_of(
        request,
        caller,
        at=parts.clock.now(),
        needs=rules.needs,
        budget_left=1.0 if left is None else left,
        analysis=found.analysis,
        called=await _called(request, rules, parts) if "model" in rules.needs else None,
    )
    found.verdict = verdict = rules.decide(found.facts)
    if verdict.unread:
        found.notes.append(_unread(verdict))
    found.request = _as_said(request, verdict)
    return found


async def _called(request: ChatRequest, rules: RuleSet, parts: Parts) -> Called:
    """What the model is called that was asked for; of its other names, and those of the models that it is a place of,
    with what rules have.
    """
    found = await called(request.model, parts)
    aliases, places_of = (tuple(filter(rules.names_model, names)) for names in (found.aliases, found.places_of))
    return Called(found.name, aliases, places_of)


@lru_cache(maxsize=8)
def _draws_each(rules: RuleSet) -> bool:
    """Whether a rule parts requests one by one."""
    then = [rule.then for rule in rules.document.rules if rule.is_on]
    return any(part.by == "request" for one in then for part in (one.split, one.canary) if part is not None)


def check_allowed(said: Ruled) -> None:
    """Raises ForbiddenByRule when a rule forbids the request, in the operator's words."""
    verdict = said.verdict
    if verdict.forbid is not None:
        why = f" ({UNREAD})" if verdict.forbid_rule in verdict.unread else _as_a_place(said)
        raise ForbiddenByRule(f'Forbidden by rule "{verdict.forbid_rule}": {verdict.forbid}{why}')


def _as_a_place(said: Ruled) -> str:
    """Of which models it is a place, where the rule that forbids it is about those; else nothing."""
    facts, rules = said.facts, said.rules
    if facts is None or rules is None or not facts.places_of:
        return ""
    if rules.decide(replace(facts, places_of=())).forbid_rule == said.verdict.forbid_rule:
        return ""
    return f" ({facts.model} is a place of {', '.join(facts.places_of)})"


def _unread(verdict: Verdict) -> str:
    met = {one.rule for one in verdict.matched}
    told = ", ".join(f'"{name}" {"counts" if name in met else "does not count"} as met' for name in verdict.unread)
    return f"{UNREAD} Rule {told}."


def _as_said(request: ChatRequest, verdict: Verdict) -> ChatRequest:
    """The request with its cap, and what the cache may do. Neither allows more than the caller did."""
    policy, control = verdict.cache, request.control
    if policy.read is False or policy.write is False or policy.ttl_s is not None:
        control = CacheControl(
            read=control.read and policy.read is not False,
            write=control.write and policy.write is not False,
            max_age_s=_least(control.max_age_s, policy.ttl_s),
            only_if_cached=control.only_if_cached,
        )
        request = replace(request, control=control)
    most = verdict.most_tokens
    if most is not None and request.inputs is None and (request.cap is None or request.cap > most):
        request = replace(request, options={**request.options, "num_predict": most})
    return request


def _least(one: float | None, other: float | None) -> float | None:
    return min((seconds for seconds in (one, other) if seconds is not None), default=None)
