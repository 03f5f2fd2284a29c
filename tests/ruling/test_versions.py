"""Versions: published whole and right, kept, gone back to; requests go by the newest one."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.checks import rules as checked
from orchestrator.core import limits
from orchestrator.core.changing import By
from orchestrator.core.documents import Fault, WrongDocument
from orchestrator.core.errors import Conflict, Forbidden, NotThere
from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import AuditEvent
from orchestrator.registry.entries import DeploymentEntry, ModelEntry, Registry
from orchestrator.ruling import documents, doubts, draft, versions
from orchestrator.ruling.doubts import There
from orchestrator.ruling.versions import Change
from routing.models import RuleDraft, RuleVersion
from routing.rules.checking import read_document
from routing.rules.document import Document
from tests.ruling.conftest import ANNA, BERT, rule

pytestmark = pytest.mark.django_db


def published(*names: str, by: By = ANNA) -> Change:
    draft.save(Document(rules=[rule(name) for name in names]), by)
    return versions.publish(by)


def live() -> list[str]:
    return [one.name for one in versions.live()[1].rules]


def drafted() -> list[str]:
    return [one.name for one in draft.read().document.rules]


def events() -> list[tuple[str, str]]:
    return list(AuditEvent.objects.of(EVERYBODY).order_by("id").values_list("action", "subject"))


def test_nothing_counts_before_it_is_published() -> None:
    draft.add_rule(rule("a"), ANNA)
    assert (versions.live(), versions.newest()) == ((0, Document()), 0)
    change = versions.publish(By("anna", "for the night", "user:anna"))
    assert change.version == 1
    assert len(change.lines) == 1
    assert live() == ["a"]
    row = versions.version(1)
    assert (row.by, row.reason, row.changes) == ("anna", "for the night", change.lines[0])
    assert draft.read().base == 1
    assert events()[-1] == ("rules.published", "version 1")


def test_an_unchanged_draft_makes_no_version() -> None:
    published("a")
    edition = draft.read().edition
    assert versions.publish(BERT) == Change(1)
    assert (versions.newest(), draft.read().edition) == (1, edition)


def test_what_would_be_published_is_told_before_it_is() -> None:
    published("a")
    draft.add_rule(rule("b"), ANNA)
    told = versions.trial()
    assert told.version == 1
    assert versions.publish(ANNA).lines == told.lines


def test_who_publishes_another_draft_than_they_saw_is_refused() -> None:
    draft.add_rule(rule("a"), ANNA)
    seen = draft.read().edition
    draft.add_rule(rule("b"), BERT)
    with pytest.raises(Conflict, match="edition 2 by now, not 1"):
        versions.publish(ANNA, expected=seen)
    assert versions.newest() == 0


def test_going_back_takes_the_draft_along_and_tells_what_it_loses() -> None:
    published("a")
    published("a", "b")
    draft.add_rule(rule("half done"), BERT)
    told = versions.try_restore(1)
    change = versions.restore(1, ANNA)
    assert change.version == 3
    assert (told.lines, told.lost) == (change.lines, change.lost)
    assert (live(), drafted()) == (["a"], ["a"])
    assert len(change.lost) == 1
    assert "half done" in change.lost[0]
    row = versions.version(3)
    assert row.reason == "version 1 again"
    event = AuditEvent.objects.of(EVERYBODY).latest("id")
    assert (event.action, event.subject) == ("rules.published", "version 3")
    assert event.details["lost"] == list(change.lost)
    assert versions.restore(3, ANNA) == Change(3)


def test_discarding_makes_the_draft_be_as_what_is_published() -> None:
    published("a")
    draft.add_rule(rule("b"), BERT)
    seen = draft.read().edition
    draft.add_rule(rule("c"), BERT)
    with pytest.raises(Conflict):
        versions.discard(ANNA, expected=seen)
    view = versions.discard(ANNA)
    assert [one.name for one in view.document.rules] == ["a"]
    assert events()[-1] == ("rules.discarded", f"edition {view.edition}")
    assert versions.discard(ANNA) == view


def test_what_is_wrong_is_refused_with_every_place_whoever_publishes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A later release checks more; a zone is gone from the machine."""
    published("a")
    published("a", "b")
    draft.add_rule(rule("c"), ANNA)
    wrong = [Fault(("rules", 0, "expression"), "line 1, column 3: what"), Fault(("rules", 1, "when", 0), "no zone")]
    monkeypatch.setattr(documents, "faults_in", lambda document: wrong)
    edition = draft.read().edition
    for publish in (
        lambda: versions.publish(ANNA),
        lambda: versions.restore(1, ANNA),
        versions.trial,
        lambda: versions.try_restore(1),
    ):
        with pytest.raises(WrongDocument) as caught:
            publish()
        assert caught.value.faults == wrong
    assert (versions.newest(), draft.read().edition) == (2, edition)


def test_what_this_release_cannot_read_can_be_replaced() -> None:
    """Rows that a later release wrote, or a hand."""
    published("a")
    RuleVersion.objects.update(document={"rules": [{"name": "a", "later": 1}]})
    RuleDraft.objects.update(then={"later": 1})
    for read in (draft.read, versions.live, versions.trial, lambda: draft.add_rule(rule("b"), ANNA)):
        with pytest.raises(WrongDocument, match="there is no such field"):
            read()
    change = versions.publish_document(Document(rules=[rule("b")]), ANNA)
    assert change.version == 2
    assert change.lost == ("the draft, which this release cannot read",)
    assert (live(), drafted()) == (["b"], ["b"])


def test_a_draft_that_this_release_cannot_read_is_left_behind() -> None:
    for leave in (lambda: draft.save(Document(), ANNA), lambda: versions.discard(ANNA)):
        draft.add_rule(rule("a"), ANNA)
        RuleDraft.objects.update(then={"later": 1})
        leave()
        assert drafted() == []


def test_models_that_there_are_not_are_a_warning() -> None:
    then = {
        "use": ["tiny", "gone", "auto"],
        "never": ["openai/*", "nobody/*"],
        "shadow": {"model": "also gone", "share": 0.1},
    }
    split = {"arms": [{"name": "a", "use": ["openai/big"]}, {"name": "b", "use": ["lost"]}]}
    canary = {"use": ["Tiny:latest", "also lost", "openai/later"], "share": 0.5}
    rules = [{"name": str(at), "then": one} for at, one in enumerate((then, {"split": split}, {"canary": canary}))]
    draft.save(read_document({"rules": rules, "auto": {"never": ["x*"]}}), ANNA)
    change = versions.publish(ANNA, models=["tiny:latest", "openai/*"])
    assert change.version == 1
    assert [fault.path for fault in change.warnings] == [
        "rules[0].then.use[1]",
        "rules[0].then.shadow.model",
        "rules[1].then.split.arms[1].use[0]",
        "rules[2].then.canary.use[1]",
        "rules[0].then.never[1]",
        "auto.never[0]",
    ]


def test_another_name_of_a_model_where_its_own_counts_is_a_warning() -> None:
    places = (DeploymentEntry(provider="mine", remote_name="big"),)
    registry = Registry(models=(ModelEntry(name="Ours", aliases=("fast", "team/fast"), deployments=places),))
    is_fast = {"fact": "model", "op": "is", "value": ["fast", "library/tiny"]}
    rules: list[dict[str, Any]] = [
        {"when": [is_fast], "then": {"use": ["fast"], "never": ["fast"], "only": ["team/*", "our*", "tiny"]}},
        {
            "expression": "model == 'fast' || tenant == 'fast' || model == 'library/tiny' || model == 'OURS'",
            "then": {"forbid": "no"},
        },
        {"expression": "model == 'tiny' || model == 'Ours' || model == 'x'", "then": {"forbid": "no"}},
        {"expression": "'fast' in tags", "then": {"forbid": "no"}},
    ]
    draft.save(read_document({"rules": [{"name": str(at), **one} for at, one in enumerate(rules)]}), ANNA)
    change = versions.publish(ANNA, models=There.of(registry, ["tiny:latest"]))
    own = "expressions, `only` and `never` go by a model's own name"
    assert [str(fault) for fault in change.warnings] == [
        f"rules[0].then.only[0]: 'team/fast' is 'Ours'; {own}",
        f"rules[0].then.never[0]: 'fast' is 'Ours'; {own}",
        f"rules[1].expression: 'fast' is 'Ours'; {own}",
        f"rules[1].expression: 'library/tiny' is 'tiny'; {own}",
        f"rules[1].expression: 'OURS' is 'Ours'; {own}",
    ]


def test_many_patterns_and_models_are_looked_through_by_how_they_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def is_named(model: str, pattern: str) -> bool:
        compared.append(pattern)
        return limits.is_named(model, pattern)

    monkeypatch.setattr(doubts, "is_named", is_named)
    never = [f"mine/{at}-*" for at in range(200)]
    document = read_document({"rules": [{"name": "a", "then": {"never": never, "only": ["tiny:LATEST", "mine/77?"]}}]})
    found = doubts.doubts_in(document, [*(f"mine/{at}-x" for at in range(1000)), "Tiny:latest", "mine/77x"])
    assert found == []
    assert len(compared) < 1000
    assert [str(one) for one in doubts.doubts_in(document, [f"mine/{at}-x" for at in range(199)])] == [
        "rules[0].then.only[0]: there is no model at the moment that 'tiny:LATEST' fits",
        "rules[0].then.only[1]: there is no model at the moment that 'mine/77?' fits",
        "rules[0].then.never[199]: there is no model at the moment that 'mine/199-*' fits",
    ]


def test_the_doctor_tells_of_live_rules_that_are_not_right_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked, "has_ledger", lambda: True)
    assert list(checked.live_rules_are_right()) == []
    chain = "tags.map(t, t + t).map(t, t + t) == tags"
    row = {"rules": [{"name": "a", "expression": chain}, {"name": "b", "is_on": False, "expression": chain}]}
    RuleVersion(number=1, at="2026-01-01T00:00:00Z", by="anna", document=row).save()
    (told,) = checked.live_rules_are_right()
    assert told.msg.endswith(': "a": column 20: an expression has one map at most.')
    RuleVersion(number=2, at="2026-01-01T00:00:00Z", by="anna", document={"later": 1}).save()
    (told,) = checked.live_rules_are_right()
    assert "cannot be read" in told.msg


def test_to_keep_something_by_what_was_said_last_is_a_warning() -> None:
    last, all_ = ({"fact": fact, "op": "contains", "value": ["a"]} for fact in ("text", "conversation"))
    keeps, chooses = {"local_only": True}, {"use": ["tiny"]}
    rules: list[dict[str, Any]] = [
        {"when": [all_, last], "then": keeps},
        {"expression": "text.contains('a') && !tools", "then": keeps},
        {"when": [all_], "expression": "conversation.contains('text')", "then": keeps},
        {"when": [last], "then": chooses},
    ]
    draft.save(read_document({"rules": [{"name": str(at), **one} for at, one in enumerate(rules)]}), ANNA)
    change = versions.publish(ANNA)
    assert [fault.path for fault in change.warnings] == ["rules[0].when[1].fact", "rules[1].expression"]


def test_the_newest_500_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "MOST_VERSIONS", 3)
    for number in range(5):
        published(str(number))
    assert [row.number for row in versions.versions()] == [5, 4, 3]
    assert [row.number for row in versions.versions(before=5)] == [4, 3]
    with pytest.raises(NotThere, match="no version 2 of the rules"):
        versions.restore(2, ANNA)


def test_whoever_may_no_longer_publishes_nothing() -> None:
    draft.add_rule(rule("a"), ANNA)

    def not_any_more() -> None:
        raise Forbidden

    eve = By("eve", must_still=not_any_more)
    with pytest.raises(Forbidden):
        versions.publish(eve)
    with pytest.raises(Forbidden):
        versions.publish_document(Document(), eve)
    assert (versions.newest(), drafted()) == (0, ["a"])
