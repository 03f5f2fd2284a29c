"""A request that the router thought about and that took three tries, with all that is kept of such a one."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import AnswerOutcome, Attempt, Charge, RequestRecord, RouteDecision, ShadowRun
from routing.deciding import decide
from routing.decision import Bar, CandidateView, DecisionInputs
from tests.dashboard.site import record

AT = datetime.now(UTC) - timedelta(minutes=5)
HAIKU = "anthropic/claude-haiku-4.5"


def third_try(tenant: str = "acme") -> int:
    """Write it; its number."""
    fields = {"asked_model": "auto", "model": HAIKU, "provider": "anthropic", "route": 'rule "hard ones": auto'}
    times = {"first_us": 1_716_000, "engine_first_us": 514_000, "total_us": 4_147_000}
    counts = {"prompt_tokens": 1204, "completion_tokens": 388, "cost_microusd": 3144, "is_paid": True}
    record(AT, tenant=tenant, request_id="third", tier="miss", **fields, **times, **counts)
    row = RequestRecord.objects.of(EVERYBODY).latest("pk")
    of_it: dict[str, Any] = {"request_id": "third", "tenant_id": row.tenant_id}
    for model, outcome, end_us, took_us in (
        ("smollm2:135m", "not_sure", 402_000, 389_000),
        ("groq/llama-3.3-70b", "engine_timeout", 1_202_000, 800_000),
    ):
        at = AT + timedelta(microseconds=end_us)
        Attempt.rows.create(**of_it, at=at, provider="x", model=model, outcome=outcome, error="", took_us=took_us)
    charge = dict.fromkeys(("cached_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens"), 0)
    for hold, model, purpose, cost in (("h1", HAIKU, "answer", 3144), ("h2", "openai/judge", "judge", 70)):
        Charge.rows.create(
            **of_it,
            **charge,
            hold=f"{tenant}-{hold}",
            at=AT,
            provider="anthropic",
            model=model,
            purpose=purpose,
            outcome="done",
            prompt_tokens=1204,
            completion_tokens=388,
            is_estimated=False,
            cost_microusd=cost,
            source="told",
        )
    inputs = DecisionInputs(
        (
            CandidateView("smollm2:135m", "llamacpp", True, "small", 0.58, 0, health="well"),
            CandidateView("groq/llama-3.3-70b", "groq", False, "mid", 0.81, 1017, health="slow"),
            CandidateView(HAIKU, "anthropic", False, "mid", 0.93, 3104, health="well"),
            CandidateView(
                "anthropic/opus", "anthropic", False, "strong", 0.98, 47160, bars=(Bar("price", "It costs too much."),)
            ),
        )
    )
    decision = decide(inputs)
    document = {
        "facts": {},
        "verdict": {"version": 14, "matched": [{"rule": "hard ones", "place": 4, "did": ["use"]}]},
        "decision": {"inputs": json.loads(json.dumps(inputs, default=_plain)), "why": decision.why},
        "trial": {"model": "smollm2:135m", "before": 0.58, "after": 0.21, "floor": 0.55, "is_taken": False},
    }
    RouteDecision.rows.create(**of_it, at=AT, rules=14, rule="hard ones", document=json.dumps(document))
    AnswerOutcome.rows.create(**of_it, at=AT, model=HAIKU, kind="judge", good=0.25, by="openai/judge", note="too short")
    ShadowRun.rows.create(
        **of_it, at=AT, rule="hard ones", model=HAIKU, shadow="openai/mini", took_us=1, shadow_took_us=2, likeness=0.7
    )
    return int(row.pk)


def _plain(value: Any) -> Any:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}
