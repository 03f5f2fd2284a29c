"""Rules as sentences, and what changed between two documents, in lines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from routing.rules.differences import differences
from routing.rules.document import Document, Rule
from routing.rules.facts import FACTS
from routing.rules.sentences import condition_words, sentence
from tests.routing.rules import wanted
from tests.routing.rules.wanted import document, when

HOURS = {"days": ["mon", "fri"], "since": "09:00", "until": "17:00", "zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({}, "Always: it is noted, and nothing else."),
        (
            {
                "when": [when("model", "is", ["gpt-4*", "claude"]), when("tags", "has", ["pii"])],
                "expression": "tokens > 5\n && tools",
                "then": {"use": ["local", "big"], "local_only": True, "is_last": True},
            },
            (
                "When the model asked is gpt-4* or claude, tags have pii and `tokens > 5 && tools`: ask local, "
                "then big; nothing leaves this machine; no rule after this one is asked."
            ),
        ),
        (
            {"when": [when("text", "contains", ["a b", "c"])], "then": {"forbid": "Ask Ann."}},
            "When the text contains “a b” or “c”: refuse it, and say “Ask Ann.”",
        ),
        (
            {"when": [when("time", "within", HOURS), when("images", "is", False), when("tokens", "at_least", 4000.0)]},
            (
                "When it is on Mon or Fri from 09:00 to 17:00 (Europe/Berlin), there is no image and the number "
                "of tokens is at least 4,000: it is noted, and nothing else."
            ),
        ),
        (
            {
                "when": [when("complexity", "between", [0.25, 0.5])],
                "then": {
                    "split": {
                        "arms": [{"name": "old", "use": ["a"], "weight": 3.0}, {"name": "new", "use": ["b", "c"]}],
                        "by": "key",
                    },
                    "aim": {"share": 0.3},
                    "cascade": False,
                    "context": "trim",
                },
            },
            (
                "When the complexity is at least 0.25 and below 0.5: split by key, 75 % old to a and 25 % new to"
                " b, then c; `auto` sends 30 % to the dear side; no local answer is tried first; shorten what is"
                " too long."
            ),
        ),
        (
            {
                "then": {
                    "canary": {"use": ["b"], "share": 0.05},
                    "only": ["a", "b"],
                    "never": ["c*"],
                    "most_tokens": 2000,
                    "most_cost": "0.05",
                    "cache": {"read": False, "write": True, "ttl_s": 7200.0},
                    "shadow": {"model": "d", "share": 0.5},
                    "aim": {"quality": 0.9},
                }
            },
            (
                "Always: 5 % by conversation to b; only a or b may answer; never ask c*; at most 2,000 tokens of"
                " answer; at most $0.05 a call; `auto` aims at answers of which 90 % are good; no answer comes "
                "from cache; answers may be kept; answers are kept for 2 hours; ask d too for 50 %, afterwards."
            ),
        ),
    ],
)
def test_a_rule_is_a_sentence(rule: dict[str, Any], said: str) -> None:
    assert sentence(document(rule).rules[0]) == said


@pytest.mark.parametrize("fact", sorted(FACTS))
def test_every_fact_has_words(fact: str) -> None:
    values = {"flag": ("is", True), "number": ("below", 5.0), "time": ("within", {}), "words": ("has", ["a"])}
    values["text"] = ("contains", ["a"])
    op, value = values.get(FACTS[fact].kind, ("is", ["text" if fact == "format" else "a"]))
    if fact == "dialect":
        value = ["openai"]
    (condition,) = document({"when": [when(fact, op, value)]}).rules[0].when
    assert condition_words(condition)
    assert "_" not in condition_words(condition)


@settings(deadline=None, derandomize=True)
@given(wanted.documents)
def test_whatever_the_rules_are_they_can_be_said(rules: Document) -> None:
    assert all(sentence(rule).endswith((".", ".”", "!”", "?”")) for rule in rules.rules)
    assert all(line.startswith("rule ") for line in differences(document(), rules))
    assert differences(rules, rules) == []
    assert bool(differences(document(), rules)) is bool(rules.rules)


def test_a_rule_half_made_can_be_said() -> None:
    rule = Rule.model_validate({"name": "a", "when": [when("weather", "is", ["rain"]), when("tokens", "is", 5.0)]})
    assert sentence(rule) == "When the weather is rain and the number of tokens is 5: it is noted, and nothing else."


def test_what_changed_is_told_in_lines() -> None:
    before = document({"name": "a"}, {"name": "b", "then": {"use": ["m"]}}, {"name": "c"}, {"name": "d"})
    after = document(
        {"name": "d"},
        {"name": "a", "is_on": False, "note": "why"},
        {"name": "b", "then": {"use": ["n"], "cache": {"read": False}}},
        {"name": "e", "is_on": False, "then": {"use": ["x"]}},
        auto={"explore": 0.1, "aim": {"quality": 0.5}},
    )
    assert differences(before, after) == [
        "rule c: removed",
        "rule a: switched off",
        "rule a: note: – → why",
        'rule b: then.use: ["m"] → ["n"]',
        "rule b: then.cache.read: – → false",
        "rule e: added as number 4, off: Always: ask x.",
        "rule d: moved from 4 to 1",
        "auto: aim.share: 0.5 → –",
        "auto: aim.quality: – → 0.5",
        "auto: explore: 0.02 → 0.1",
    ]


def test_as_few_rules_as_explain_an_order_were_moved() -> None:
    names = [{"name": name} for name in "abcdefg"]
    last_first = [names[-1], *names[:-1]]
    assert differences(document(*names), document(*last_first)) == ["rule g: moved from 7 to 1"]
    assert differences(document(*last_first), document(*names)) == ["rule g: moved from 1 to 7"]
    assert len(differences(document(*names), document(*names[::-1]))) == 6
