"""Where the router is in two minds, a local model is tried first, and what it says decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.adaptation import json_answers, prefill
from orchestrator.adaptation.fitting import Check
from orchestrator.cascade import NotSure, Trial, asked_to_tell, untold
from orchestrator.choosing.auto import Choice
from orchestrator.choosing.ruled import Look, Ruled
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.types import ChatRequest
from orchestrator.failover import Plan
from orchestrator.ledger.writer import Entry
from orchestrator.outcomes.posting import Noted
from orchestrator.parts import Parts
from routing.confidence import Confidence
from routing.decision import CandidateView


def on_trial(plans: Sequence[Plan], said: Ruled, entry: Entry, parts: Parts) -> Sequence[Plan]:
    """The plans, of which all places of the first model are on trial where that is what was decided.

    Whether its likelihood is told, and whether each piece is heard as it comes, is as the caller asked.
    """
    choice, asked = said.choice, entry.request
    if choice is None or choice.decision.cascade is None:
        return plans
    cascade = choice.decision.cascade
    views = {one.name: one for one in choice.inputs.candidates}
    models = {plan.candidate.stands_for.name: None for plan in plans}
    if len(models) < 2 or next(iter(models)) != cascade.first or not {cascade.first, cascade.then} <= views.keys():
        return plans
    floor = _floor(choice, views[cascade.then])
    is_in_form = _form_of(asked)

    def tried(plan: Plan) -> Plan:
        def heard(found: Confidence) -> None:
            said.notes.append(f"{plan.name}: {found}")
            said.trial = Look(cascade.first, found.before, found.after, floor, is_taken=found.after >= floor)

        trial = Trial(
            tenant=entry.caller.tenant_id,
            model=plan.name,
            before=views[cascade.first].p_good,
            floor=floor,
            usual=parts.router.usual,
            clock=parts.clock,
            is_streamed=asked.stream,
            heard=heard,
            form=is_in_form,
        )
        request = asked_to_tell(plan.request) if "logprobs" in plan.candidate.model.takes else plan.request
        steps = plan.steps if asked.logprobs else (untold, *plan.steps)  # also where it is taken untried
        return replace(plan, request=request, steps=steps, trial=trial.step)

    return [tried(plan) if plan.candidate.stands_for.name == cascade.first else plan for plan in plans]


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


def _form_of(asked: ChatRequest) -> Check | None:
    """Whether an answer is in the form that was asked for; None: none was."""
    if not asked.format:
        return None
    return json_answers.standing(asked.format, has_stops=bool(asked.stops), begun=prefill.begun(asked.messages))
