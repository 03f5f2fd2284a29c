"""Who would be asked, if a request came now: the whole way up to that, and no further."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator.choosing.auto import choose_among
from orchestrator.choosing.explaining import told_of
from orchestrator.choosing.facts import facts_of
from orchestrator.choosing.ruled import ruled
from orchestrator.choosing.ways import way_of
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.types import Caller, ChatRequest
from orchestrator.parts import Parts
from orchestrator.routes import plans_for


async def tried(request: ChatRequest, caller: Caller, parts: Parts) -> dict[str, Any]:
    """What rules say of it, who would be asked in which order, and why; or why nobody would.

    It counts nowhere: neither against limits nor where the slider stands.
    """
    said = await ruled(request, caller, parts)
    facts = said.facts or facts_of(said.request, caller, at=parts.clock.now())
    refusal: OrchestratorError | None = None
    route = None
    plans = []
    try:
        way = await way_of(said, caller, parts)
        route, plans = way.route, list(way.plans)
        if way.is_open:
            said.choice = await choose_among(said, route.reason, caller, parts, is_trial=True)
            route = said.choice.route
            plans = plans_for(route, said.request, caller, parts, said.verdict.context)
    except OrchestratorError as error:
        refusal = error
    return {
        "model": plans[0].name if plans else None,
        "places": [{"model": plan.name, "provider": plan.candidate.model.engine} for plan in plans],
        "route": route.reason if route is not None and plans else None,
        "refused": {"status": refusal.status, "why": str(refusal)} if refusal else None,
        "facts": replace(facts, text=None).to_json(),
        "verdict": said.verdict.to_json(),
        "notes": said.notes,
        "decision": told_of(said.choice.inputs, said.choice.decision) if said.choice else None,
    }
