"""Where the router is in two minds, a local model is tried first, and what it says decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.cascade import NotSure, Trial, asked_to_tell
from orchestrator.choosing.auto import Choice
from orchestrator.choosing.ruled import Ruled
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.types import ChatRequest
from orchestrator.failover import Plan
from orchestrator.ledger.writer import Entry
from orchestrator.outcomes.posting import Noted
from orchestrator.parts import Parts
from routing.decision import CandidateView


def on_trial(plans: Sequence[Plan], said: Ruled, asked: ChatRequest, parts: Parts) -> Sequence[Plan]:
    """The plans, of which the first is on trial where that is what was decided.

    asked  by the caller: who wants to hear how likely each token was, and who hears each piece as it comes.
    """
    choice = said.choice
    if choice is None or choice.decision.cascade is None or len(plans) < 2:
        return plans
    cascade, first = choice.decision.cascade, plans[0]
    views = {one.name: one for one in choice.inputs.candidates}
    if first.candidate.stands_for.name != cascade.first or cascade.first not in views or cascade.then not in views:
        return plans
    trial = Trial(
        model=first.name,
        before=views[cascade.first].p_good,
        floor=_floor(choice, views[cascade.then]),
        usual=parts.router.usual,
        clock=parts.clock,
        is_streamed=asked.stream,
        shows=asked.logprobs,
        heard=lambda confidence: said.notes.append(f"{first.name}: {confidence}"),
    )
    request = asked_to_tell(first.request) if "logprobs" in first.candidate.model.takes else first.request
    return [replace(first, request=request, trial=trial.step), *plans[1:]]


def not_sure(entry: Entry, plan: Plan, error: OrchestratorError, parts: Parts) -> None:
    """Have it known that a model was not sure of its answer."""
    if isinstance(error, NotSure) and parts.outcomes is not None:
        request_id, model = entry.request.request_id, plan.candidate.stands_for.name
        parts.outcomes.note(Noted(entry.caller.tenant_id, request_id, model, "escalation", 0.0, note=str(error)))


def _floor(choice: Choice, then: CandidateView) -> float:
    """How likely the answer has to be good: what is left to gain elsewhere is then less than it is worth."""
    threshold, inputs = choice.inputs.threshold, choice.inputs
    if threshold is not None:
        return then.p_good - threshold
    dollars, seconds = (then.cost_micros or 0) / 1e6, then.first_token_s or 0.0
    return then.p_good - inputs.cost_weight * dollars - inputs.latency_weight * seconds
