"""Why somebody was asked, from what was kept of it, and whether the same inputs decide the same today."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import msgspec

from orchestrator.choosing.written import outcome_of, without_patterns
from orchestrator.core.errors import NotThere, OrchestratorError
from orchestrator.core.permissions import Reach
from orchestrator.models import Attempt, RequestRecord, RouteDecision
from orchestrator.ruling.documents import EMPTY
from orchestrator.ruling.versions import version
from routing.deciding import decide
from routing.decision import Decision, DecisionInputs
from routing.rules.checking import read_document
from routing.rules.compiled import compile_rules
from routing.rules.document import Document
from routing.rules.facts import Facts
from routing.rules.verdict import Verdict

MOST_ATTEMPTS = 20
UNREAD = (ValueError, TypeError, KeyError, AttributeError)  # what reading a document of another release may raise
ANOTHER_RELEASE = "Another release wrote it, in a way that cannot be read."
# Of a request: what is shown beside its decision.
SHOWN = ("asked_model", "model", "provider", "route", "tier", "status", "outcome", "error", "cost_microusd", "total_us")


def explain(request_id: str, reach: Reach) -> dict[str, Any]:
    """The newest decision for a request of that id. Raises NotThere.

    An id is its caller's own word, so several tenants may have one of the same.
    """
    row = RouteDecision.objects.of(reach).filter(request_id=request_id).select_related("tenant").order_by("-id").first()
    if row is None:
        raise NotThere(f"No decision is kept for request '{request_id[:64]}'. {WHICH}")
    of_request = {"request_id": request_id, "tenant_id": row.tenant_id}
    record = RequestRecord.objects.of(reach).filter(**of_request).order_by("-id").values(*SHOWN).first()
    tried = Attempt.objects.of(reach).filter(**of_request).order_by("id")
    return {
        "request_id": row.request_id,
        "tenant": row.tenant.name,
        "at": row.at,
        **explained(json.loads(row.document)),
        "request": record,
        "tried": list(tried.values("provider", "model", "outcome", "error", "took_us")[:MOST_ATTEMPTS]),
    }


WHICH = (
    "They are kept for requests that a rule or the router had a part in, and for a sample of the others, as long as "
    "records are."
)


def explained(document: dict[str, Any]) -> dict[str, Any]:
    """What was kept of a decision, with how it came about, and what the same inputs come to now.

    Where another release wrote it so that it cannot be read, it is told without the latter.
    """
    told: dict[str, Any] = {
        "facts": document.get("facts", {}),
        "verdict": document.get("verdict", {}),
        "notes": document.get("notes", []),
        "trial": document.get("trial"),
        "decision": None,
        "replay": {"rules": _replayed_rules(document), "decision": None},
    }
    if kept := document.get("decision"):
        try:
            inputs = inputs_of(kept["inputs"])
            again = decide(inputs)
            told["decision"] = told_of(inputs, again)
        except UNREAD:
            told["replay"]["decision"] = {"is_same": None, "why": ANOTHER_RELEASE, "kept": _outcome(kept)}
        else:
            told["replay"]["decision"] = _compared(_outcome(kept), _outcome(outcome_of(again)))
    return told


def replayed(document: dict[str, Any], rules: Document, number: int) -> tuple[Verdict, Decision | None]:
    """The verdict and the decision that follow from what was kept. Raises what is in `UNREAD`."""
    kept = Verdict.from_json(document["verdict"])
    verdict = compile_rules(rules, number).decide(Facts.from_json(document["facts"]), heard=kept.heard)
    decision = document.get("decision")
    return verdict, decide(inputs_of(decision["inputs"])) if decision else None


def inputs_of(said: dict[str, Any]) -> DecisionInputs:
    """What was kept, as it was. Raises msgspec.ValidationError where another release wrote it."""
    return msgspec.convert(said, DecisionInputs)


def _replayed_rules(document: dict[str, Any]) -> dict[str, Any]:
    """Whether the rules of then say the same of the same facts."""
    try:
        kept = document["verdict"]
        number = kept.get("version", 0)
        rules = read_document(version(number).document) if number else EMPTY
        verdict, _ = replayed(document | {"decision": None}, rules, number)
    except OrchestratorError as error:
        return {"is_same": None, "why": str(error)}
    except UNREAD:
        return {"is_same": None, "why": ANOTHER_RELEASE}
    now = json.loads(json.dumps(verdict.to_json(), default=dict))
    if document.get("is_short"):
        now = without_patterns(now)
    return _compared(kept, now)


def _compared(kept: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    return {"is_same": True} if kept == now else {"is_same": False, "now": now}


def _outcome(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name not in {"inputs", "why"}}


def told_of(inputs: DecisionInputs, decision: Decision) -> dict[str, Any]:
    """All of a decision: what was weighed, and every candidate with its parts."""
    known = {one.name: asdict(one) for one in inputs.candidates}
    weighed = {name: value for name, value in asdict(inputs).items() if name != "candidates"}
    return {
        "why": decision.why,
        "propensity": decision.propensity,
        "is_explored": decision.is_explored,
        "gain": decision.gain,
        "cascade": asdict(decision.cascade) if decision.cascade else None,
        "weighed": weighed,
        "candidates": [known.get(one.name, {}) | asdict(one) for one in decision.choices],
    }
