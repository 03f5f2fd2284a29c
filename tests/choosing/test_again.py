"""What was written down of any decision makes the same one again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.choosing.auto import Choice
from orchestrator.choosing.explaining import explained, replayed
from orchestrator.choosing.ruled import Ruled
from orchestrator.choosing.written import document_of, outcome_of, without_patterns
from orchestrator.core.types import ChatRequest, Message
from orchestrator.ledger.decisions import MOST_BYTES, Decided, rows_of
from routing.deciding import decide
from routing.decision import Bar, CandidateView, DecisionInputs
from routing.rules.compiled import compile_rules
from routing.rules.document import Document
from routing.rules.facts import Facts
from tests.routing.rules import wanted

often = settings(max_examples=50, deadline=None, derandomize=True)
_unit = st.floats(0, 1)
_names = st.sampled_from(["tiny:latest", "openai/gpt-4o", "x" * 255, "größe", "a/b", "c", "d", "e", "f", "g"])
_words = ("privacy", "context", "tools", "vision", "format", "budget", "price", "health", "forbidden", "other")
_why = st.sampled_from(["it is down", "é" * 300])
_bars = st.lists(st.builds(Bar, st.sampled_from(_words), _why), max_size=2).map(tuple)
_views = st.builds(
    CandidateView,
    name=_names,
    provider=st.sampled_from(["llamacpp", "openai"]),
    is_local=st.booleans(),
    tier=st.sampled_from(["small", "mid", "strong"]),
    p_good=_unit,
    cost_micros=st.none() | st.integers(0, 10**9),
    first_token_s=st.none() | st.floats(0, 100),
    health=st.sampled_from(["well", "unknown", "slow", "failing", "down"]),
    bars=_bars,
)
inputs = st.builds(
    DecisionInputs,
    candidates=st.lists(_views, max_size=10, unique_by=lambda one: one.name).map(tuple),
    cost_weight=st.floats(0, 100),
    latency_weight=st.floats(0, 1),
    is_local_only=st.booleans(),
    threshold=st.none() | st.floats(-2, 2),
    band=st.floats(0, 0.3),
    explore_share=st.floats(0, 0.2),
    explore_draw=st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)),
)


def written(said: Ruled) -> dict[str, Any]:
    """What the ledger would write of it, as it is read again."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    decided = Decided(request_id="r", tenant_id=1, at=at, document=lambda short: document_of(said, short))
    (row,) = rows_of([decided])
    text = next(value for value in row if isinstance(value, str) and value.startswith("{"))
    assert len(text.encode()) <= MOST_BYTES
    read: dict[str, Any] = json.loads(text)
    return read


@often
@given(wanted.documents, wanted.facts, inputs)
def test_the_same_verdict_and_the_same_decision(rules: Document, facts: Facts, inputs: DecisionInputs) -> None:
    facts = replace(facts, text=facts.text or "nothing")
    verdict, decision = compile_rules(rules, 7).decide(facts), decide(inputs)
    request = ChatRequest(model="auto", messages=(Message(role="user", content=facts.text or ""),))
    choice = Choice(None, inputs, decision)  # type: ignore[arg-type]  # it is not written down
    kept = written(Ruled(request, verdict, facts=facts, choice=choice))
    assert kept["facts"]["text"] is None
    verdict_again, decision_again = replayed(kept, rules, 7)
    if kept["is_short"]:
        assert without_patterns(verdict_again.to_json()) == without_patterns(verdict.to_json())
    else:
        assert verdict_again == verdict
    if "decision" in kept:
        assert decision_again is not None
        assert outcome_of(decision_again) == outcome_of(decision)
        told = explained(kept | {"verdict": {}, "facts": {}})
        assert told["replay"] == {"rules": {"is_same": True}, "decision": {"is_same": True}}


def test_what_was_changed_is_told_from_what_was_kept() -> None:
    inputs = DecisionInputs((CandidateView("a", "x", True, "small", 0.5), CandidateView("b", "x", False, "mid", 0.9)))
    request = ChatRequest(model="auto")
    choice = Choice(None, inputs, decide(inputs))  # type: ignore[arg-type]
    kept = written(Ruled(request, facts=Facts(), choice=choice))
    kept["decision"]["choices"].reverse()
    assert explained(kept)["replay"]["decision"]["is_same"] is False


def test_a_decision_is_short_enough_whatever_rules_name() -> None:
    rules = wanted.document({"then": {"never": ["n" * 250 + str(at) for at in range(200)]}})
    facts = Facts(text="")
    kept = written(Ruled(ChatRequest(model="auto"), compile_rules(rules, 1).decide(facts), facts=facts))
    assert kept["is_short"]
    assert "never" not in kept["verdict"]
