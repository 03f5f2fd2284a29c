"""Where the router is in two minds, a local model is tried first, and what it says decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.cascade import NotSure, Trial, asked_to_tell
from orchestrator.choosing.auto import Choice
from orchestrator.choosing.ruled import Look, Ruled
from orchestrator.core.errors import OrchestratorError
from orchestrator.failover import Plan
from orchestrator.ledger.writer import Entry
from orchestrator.outcomes.posting import Noted
from orchestrator.parts import Parts
from routing.confidence import Confidence
from routing.decision import CandidateView


def on_trial(plans: Sequence[Plan], said: Ruled, entry: Entry, parts: Parts) -> Sequence[Plan]:
    """The plans, of which the first is on trial where that is what was decided.

    Whether its likelihood is told, and whether each piece is heard as it comes, is as the caller asked.
    """
    choice, asked = said.choice, entry.request
    if choice is None or choice.decision.cascade is None or len(plans) < 2:
        return plans
    cascade, first = choice.decision.cascade, plans[0]
    views = {one.name: one for one in choice.inputs.candidates}
    if first.candidate.stands_for.name != cascade.first or cascade.first not in views or cascade.then not in views:
        return plans
    floor = _floor(choice, views[cascade.then])

    def heard(found: Confidence) -> None:
        said.notes.append(f"{first.name}: {found}")
        said.trial = Look(cascade.first, found.before, found.after, floor, is_taken=found.after >= floor)

    trial = Trial(
        tenant=entry.caller.tenant_id,
        model=first.name,
        before=views[cascade.first].p_good,
        floor=floor,
        usual=parts.router.usual,
        clock=parts.clock,
        is_streamed=asked.stream,
        shows=asked.logprobs,
        heard=heard,
    )
    request = asked_to_tell(first.request) if "logprobs" in first.candidate.model.takes else first.request
    return [replace(first, request=request, trial=trial.step), *plans[1:]]


def not_sure(entry: Entry, given_up: Sequence[tuple[Plan, OrchestratorError]], answered: Plan, parts: Parts) -> None:
    """Have it known that a model was not sure of its answer, and that another model answered in its place.

    Where none did, its answer was the best that there was; and who was silent may have been loading. It is for who
    reads of the request: nothing is learned of it, since how good the answer would have been nobody found out.
    """
    if parts.outcomes is None:
        return
    for plan, error in given_up:
        model = plan.candidate.stands_for.name
        if isinstance(error, NotSure) and error.found is not None and model != answered.candidate.stands_for.name:
            whose = entry.caller.tenant_id, entry.request.request_id
            parts.outcomes.note(Noted(*whose, model, "escalation", error.found.after, note=str(error)))


def _floor(choice: Choice, then: CandidateView) -> float:
    """How likely the answer has to be good: what is left to gain elsewhere is then less than it is worth."""
    threshold, inputs = choice.inputs.threshold, choice.inputs
    if threshold is not None:
        return then.p_good - threshold
    dollars, seconds = (then.cost_micros or 0) / 1e6, then.first_token_s or 0.0
    return then.p_good - inputs.cost_weight * dollars - inputs.latency_weight * seconds
