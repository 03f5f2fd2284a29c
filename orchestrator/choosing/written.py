"""What is kept of a decision, so that it can be explained, and made again from the very same inputs."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any
from zlib import crc32

from orchestrator.choosing.facts import facts_of, with_analysis
from orchestrator.choosing.ruled import NO_VERDICT, Ruled
from orchestrator.ledger.decisions import Decided
from orchestrator.ledger.writer import Entry
from orchestrator.parts import Parts
from routing.decision import Bar, CandidateView, Decision
from routing.rules.verdict import Verdict

ONE_IN = 16  # of the questions that neither a rule nor the router is about: what a draft of rules is tried on
MOST_NOTES, LONGEST_NOTE = 8, 200
# What is left out, the less there is room: what the version of the rules says anyway, then why models were excluded.
_USUAL = {field.name: getattr(NO_VERDICT, field.name) for field in fields(Verdict)}
WITHOUT_PATTERNS, WITHOUT_REASONS, WITHOUT_CHOICE = 1, 2, 3


def note(said: Ruled, entry: Entry, parts: Parts, *, is_asked: bool = False) -> None:
    """Have the decision written with the record of its request, where it is worth a row.

    That is so where a rule or the router had a part in it, and for a sample of all other questions to a model.

    is_asked  a model is asked now: what is known after this is not written.
    """
    verdict, choice = said.verdict, said.choice
    is_plain = choice is None and not (verdict.matched or verdict.failed or said.notes)
    if is_plain and not (is_asked and _is_of_sample(entry)):
        return
    stands_for = {"stands_for": ONE_IN} if is_plain else {}
    if said.facts is None:  # no rule wanted any
        said.facts = facts_of(said.request, entry.caller, at=parts.clock.now(), analysis=said.analysis)
    elif said.analysis is not None and not said.facts.is_told("task"):  # the router wanted it
        said.facts = with_analysis(said.facts, said.analysis)
    decided = entry.decided
    if decided is None:
        decided = entry.decided = Decided(
            request_id=entry.request.request_id,
            tenant_id=entry.caller.tenant_id,
            at=entry.at,
            document=lambda shortness: document_of(said, shortness) | stands_for,
            rules=verdict.version,
        )
    decided.rule = said.named_by or verdict.forbid_rule
    if said.named_by == verdict.split:  # whose arm had no model to be had was the caller's own choice
        decided.split, decided.arm = verdict.split, verdict.arm
    if said.analysis is not None:
        decided.task, decided.complexity = said.analysis.task, said.analysis.complexity
    if choice is not None:
        decided.propensity, decided.is_explored = choice.decision.propensity, choice.decision.is_explored
        decided.vector = choice.place


def _is_of_sample(entry: Entry) -> bool:
    return crc32(entry.request.request_id.encode("utf-8", "replace")) % ONE_IN == 0


def document_of(said: Ruled, shortness: int = 0) -> dict[str, Any]:
    """All of it, for orjson to write; the higher the number, the shorter. The text is not in it."""
    verdict = _unusual(said.verdict)
    if shortness >= WITHOUT_PATTERNS:
        verdict = without_patterns(verdict)
    document: dict[str, Any] = {
        "facts": said.facts.to_json() if said.facts is not None else {},
        "verdict": verdict,
        "notes": [note[:LONGEST_NOTE] for note in said.notes[:MOST_NOTES]],
        "is_short": shortness >= WITHOUT_PATTERNS,
    }
    if said.trial is not None:
        document["trial"] = said.trial
    choice = said.choice
    if choice is not None and shortness < WITHOUT_CHOICE:
        inputs = choice.inputs
        if shortness >= WITHOUT_REASONS:
            inputs = replace(inputs, candidates=tuple(map(_without_reasons, inputs.candidates)))
        document["abilities"] = {name: round(ability, 4) for name, ability in choice.abilities.items()}
        if choice.names:
            document["names"] = choice.names
        document["decision"] = {"inputs": inputs} | outcome_of(choice.decision)
    return document


def _unusual(verdict: Verdict) -> dict[str, Any]:
    """As `Verdict.to_json`, for who writes it at once: objects within stay what they are, which is quicker."""
    return {name: value for name, usual in _USUAL.items() if (value := getattr(verdict, name)) != usual}


def _without_reasons(one: CandidateView) -> CandidateView:
    return replace(one, bars=tuple(Bar(bar.word, "") for bar in one.bars))


def outcome_of(decision: Decision) -> dict[str, Any]:
    """What a decision came to; how it came about follows from its inputs."""
    cascade = decision.cascade
    return {
        "choices": [{"name": one.name, "place": one.place} for one in decision.choices],
        "propensity": decision.propensity,
        "is_explored": decision.is_explored,
        "gain": decision.gain,
        "cascade": [cascade.first, cascade.then] if cascade else None,
        "why": decision.why,
    }


def without_patterns(verdict: dict[str, Any]) -> dict[str, Any]:
    """A verdict without the names that its rules have anyway."""
    return {name: value for name, value in verdict.items() if name not in {"only", "never"}}
