"""The draft: one for all, in the database, never written over by who had not seen it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connections

from orchestrator.core.changing import By
from orchestrator.core.documents import WrongDocument
from orchestrator.core.errors import Conflict, Forbidden, NotThere
from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import AuditEvent
from orchestrator.ruling import draft
from routing.models import RuleDraft
from routing.rules.checking import read_document
from routing.rules.document import AutoPart, Document
from tests.ruling.conftest import ANNA, BERT, rule

pytestmark = pytest.mark.django_db

EVERYTHING: dict[str, Any] = {
    "rules": [
        {
            "name": "at night",
            "note": "nobody is there to pay",
            "is_on": False,
            "when": [
                {"fact": "time", "op": "within", "value": {"days": ["mon"], "since": "22:00", "until": "06:00"}},
                {"fact": "tokens", "op": "between", "value": [10, 20.5]},
                {"fact": "tools", "op": "is", "value": True},
                {"fact": "tags", "op": "has", "value": ["a", "b"]},
            ],
            "expression": "tokens > 5",
            "then": {
                "split": {"arms": [{"name": "a", "use": ["x"]}, {"name": "b", "use": ["y", "z"], "weight": 3}]},
                "aim": {"quality": 0.9},
                "most_cost": "0.05",
                "cache": {"read": False},
                "is_last": True,
            },
        },
        {"name": "rest", "then": {"use": ["auto"]}},
    ],
    "auto": {"aim": {"share": 0.2}, "never": ["dear/*"]},
}


def names() -> list[str]:
    return [one.name for one in draft.read().document.rules]


def test_it_is_empty_at_first_and_comes_back_word_for_word() -> None:
    assert draft.read() == draft.DraftView(Document(version=0), 0, 0, {})
    document = read_document(EVERYTHING)
    draft.save(document, ANNA)
    view = draft.read()
    assert view.document == document.model_copy(update={"version": 0})
    assert (view.base, view.edition) == (0, 1)


def test_rules_are_added_changed_moved_switched_and_taken_away() -> None:
    for name in ("a", "b", "c"):
        draft.add_rule(rule(name), ANNA)
    draft.add_rule(rule("first"), ANNA, place=1)
    assert names() == ["first", "a", "b", "c"]
    draft.move_rule("first", 3, ANNA)
    assert names() == ["a", "b", "first", "c"]
    draft.move_rule("a", 99, ANNA)
    assert names() == ["b", "first", "c", "a"]
    draft.put_rule("first", rule("second", note="by another name"), ANNA)
    draft.delete_rule("c", ANNA)
    draft.switch_rule("b", ANNA, is_on=False)
    view = draft.put_auto(AutoPart(explore=0.1), ANNA)
    assert [(one.name, one.is_on, one.note) for one in view.document.rules] == [
        ("b", False, ""),
        ("second", True, "by another name"),
        ("a", True, ""),
    ]
    assert view.document.auto.explore == 0.1
    assert view == draft.read()
    assert view.edition == 10


def test_who_changed_a_rule_last_is_told_and_to_be_pushed_aside_is_no_change() -> None:
    for name in ("a", "b"):
        draft.add_rule(rule(name), ANNA)
    draft.add_rule(rule("c"), BERT, place=1)
    draft.switch_rule("b", BERT, is_on=False)
    assert {name: one.by for name, one in draft.read().touched.items()} == {"a": "anna", "b": "bert", "c": "bert"}
    draft.move_rule("a", 1, BERT)
    assert {one.by for one in draft.read().touched.values()} == {"bert"}


def test_what_changes_nothing_is_no_edition_and_no_event() -> None:
    draft.add_rule(rule("a"), ANNA)
    draft.put_rule("a", rule("a"), BERT)
    draft.move_rule("a", 1, BERT)
    view = draft.save(draft.read().document, BERT)
    assert view.edition == 1
    assert view.touched["a"].by == "anna"
    assert AuditEvent.objects.of(EVERYBODY).count() == 1


def test_who_has_not_seen_the_newest_changes_nothing() -> None:
    draft.add_rule(rule("a"), ANNA)
    seen = draft.read().edition
    draft.put_rule("a", rule("a", note="by anna"), ANNA, expected=seen)
    for change in (
        lambda: draft.put_rule("a", rule("a", note="by bert"), BERT, expected=seen),
        lambda: draft.add_rule(rule("b"), BERT, expected=seen),
        lambda: draft.delete_rule("a", BERT, expected=seen),
        lambda: draft.move_rule("a", 1, BERT, expected=seen),
        lambda: draft.save(Document(), BERT, expected=seen),
    ):
        with pytest.raises(Conflict, match=r"edition 2 by now, not 1\. Read it again"):
            change()
    assert draft.read().document.rules[0].note == "by anna"


@pytest.mark.django_db(transaction=True)
def test_two_at_once_lose_nothing() -> None:
    """Each adds rules of its own; whoever read first would write over the other's."""
    refused: list[Conflict] = []

    def add(who: str) -> None:
        try:
            for number in range(8):
                while True:
                    seen = draft.read().edition
                    try:
                        draft.add_rule(rule(f"{who} {number}"), ANNA, expected=seen)
                        break
                    except Conflict as error:
                        refused.append(error)
        finally:
            connections.close_all()

    both = [threading.Thread(target=add, args=(who,)) for who in ("one", "other")]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)
    view = draft.read()
    assert sorted(names()) == sorted(f"{who} {number}" for who in ("one", "other") for number in range(8))
    assert view.edition == 16  # no change was written over, or written twice


def test_what_cannot_be_so_is_refused_with_its_place_and_nothing_changes() -> None:
    draft.add_rule(rule("a"), ANNA)
    with pytest.raises(WrongDocument, match="name: there is a rule 'a' already"):
        draft.add_rule(rule("a"), ANNA)
    draft.add_rule(rule("b"), ANNA)
    with pytest.raises(WrongDocument, match="there is a rule 'a' already"):
        draft.put_rule("b", rule("a"), ANNA)
    with pytest.raises(WrongDocument, match=r"rules\[1\]\.name"):
        draft.save(Document(rules=[rule("x"), rule("x")]), ANNA)
    for change in (draft.delete_rule, lambda name, by: draft.put_rule(name, rule(name), by)):
        with pytest.raises(NotThere, match="no rule 'gone' in the draft"):
            change("gone", ANNA)
    assert names() == ["a", "b"]


def test_there_are_no_more_rules_than_a_document_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "MOST_RULES", 2)
    draft.save(Document(rules=[rule("a"), rule("b")]), ANNA)
    with pytest.raises(WrongDocument, match="there are 2 rules at most"):
        draft.add_rule(rule("one more"), ANNA)
    assert names() == ["a", "b"]


def test_whoever_may_no_longer_changes_nothing() -> None:
    def not_any_more() -> None:
        raise Forbidden

    with pytest.raises(Forbidden):
        draft.add_rule(rule("a"), By("eve", must_still=not_any_more))
    assert draft.read().edition == 0
    assert not RuleDraft.objects.exists()


def test_a_document_made_from_another_version_is_refused() -> None:
    with pytest.raises(Conflict, match="The newest version is 0 by now, not 3"):
        draft.save(Document(version=3), ANNA)
