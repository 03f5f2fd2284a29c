"""What holds for any rules and any request."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings

from routing.rules.asked import Asked, Unheard, Unsure
from routing.rules.checking import faults_in, read_document
from routing.rules.compiled import RuleSet, compile_rules, compiled_rule, keeps_something
from routing.rules.document import Document, plain
from routing.rules.expressions import Failed
from routing.rules.facts import Facts
from routing.rules.said import Said
from routing.rules.verdict import Verdict
from tests.routing.rules import wanted

often = settings(max_examples=100, deadline=None, derandomize=True)


def one_by_one(document: Document, facts: Facts) -> Verdict:
    """What the rules say, found by asking each of them in turn."""
    asked, said = Asked(facts, None), Said(facts, 1)
    for place, rule in enumerate(document.rules, 1):
        if not rule.is_on:
            continue
        try:
            if compiled_rule(rule, place).is_met(asked) and said.add(rule, place):
                break
        except Failed:
            said.failed.append(rule.name)
        except Unheard:
            said.unheard.append(rule.name)
        except Unsure:
            said.unread.append(rule.name)
            if keeps_something(rule.then) and said.add(rule, place):
                break
    return said.verdict(asked.heard)


def through_json(value: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(value))
    return read


@often
@given(wanted.plain_documents, wanted.facts)
def test_no_rule_is_missed_that_names_what_a_request_is(document: Document, facts: Facts) -> None:
    found = compile_rules(document, 1).decide(facts)
    assert found.matched == one_by_one(document, facts).matched


@often
@given(wanted.documents, wanted.facts)
def test_to_find_rules_by_what_they_name_changes_no_verdict(document: Document, facts: Facts) -> None:
    assert compile_rules(document, 1).decide(facts) == one_by_one(document, facts)


@often
@given(wanted.documents, wanted.facts)
def test_what_was_heard_decides_again_without_the_text(document: Document, facts: Facts) -> None:
    rules = compile_rules(document, 1)
    verdict = Verdict.from_json(through_json(rules.decide(facts).to_json()))
    kept = Facts.from_json(through_json(facts.to_json()))
    assert kept.text is None
    assert rules.decide(kept, heard=verdict.heard) == verdict == rules.decide(facts)


@often
@given(wanted.documents, wanted.facts)
def test_a_rule_that_is_off_is_as_if_it_were_not_there(document: Document, facts: Facts) -> None:
    there = [rule for rule in document.rules if rule.is_on]
    fewer = compile_rules(document.model_copy(update={"rules": there}), 1).decide(facts).to_json()
    verdict = compile_rules(document, 1).decide(facts).to_json()
    places = {rule.name: place for place, rule in enumerate(there, 1)}
    for matched in verdict.get("matched", ()):
        matched["place"] = places[matched["rule"]]
    assert verdict == fewer


@often
@given(wanted.documents, wanted.facts)
def test_a_document_without_faults_is_the_same_after_json(document: Document, facts: Facts) -> None:
    again = read_document(through_json(plain(document)))
    assert again == document
    assert faults_in(again) == []
    assert compile_rules(again, 1).decide(facts) == compile_rules(document, 1).decide(facts)


@given(wanted.facts)
def test_facts_with_their_text_are_the_same_after_json(facts: Facts) -> None:
    assert Facts.from_json(through_json(facts.to_json(with_text=True))) == facts


def test_all_kinds_of_answers_are_met_by_chance() -> None:
    """Else the properties above would hold of nothing."""
    seen: set[str] = set()

    @settings(max_examples=1000, deadline=None, derandomize=True, database=None)
    @given(wanted.documents, wanted.facts)
    def look(document: Document, facts: Facts) -> None:
        rules: RuleSet = compile_rules(document, 1)
        verdict = rules.decide(facts)
        seen.update(verdict.to_json())
        seen.update(word for matched in verdict.matched for word in matched.did)
        seen.update(f"heard {answer}" for answer in verdict.heard.values())

    look()
    assert seen >= {"failed", "forbid", "split", "canary", "use", "only", "never", "shadow", "aim", "cache", "is_last"}
    assert seen >= {"heard True", "heard False", "heard None"}
