"""What becomes of a request: which conditions hold, and what matching rules say together."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from routing.rules.checking import read_document
from routing.rules.compiled import compile_rules
from routing.rules.draws import draw
from routing.rules.facts import Facts
from routing.rules.verdict import Aim, CachePolicy, Matched, Shadow, Verdict
from tests.routing.rules.wanted import rule_set, when


def holds(fact: str, op: str, value: Any, **facts: Any) -> bool:
    """Whether a condition does."""
    verdict = rule_set({"when": [when(fact, op, value)]}).decide(Facts(**facts))
    assert verdict.failed == ()
    return bool(verdict.matched)


@pytest.mark.parametrize(
    ("pattern", "model", "is_so"),
    [
        ("gpt-4o", "GPT-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4*", "gpt-4o-mini", True),
        ("*mini", "openai/gpt-4o-mini", True),
        ("llama3:latest", "llama3", True),
        ("llama3", "llama3:latest", True),
        ("x[1]", "x[1]", True),
        ("x[1]*", "x[1]b", True),
        ("x[1]*", "x1b", False),
        ("x?*", "xyz", False),
    ],
)
def test_a_model_is_named_as_limits_name_it(pattern: str, model: str, is_so: bool) -> None:
    assert holds("model", "is", [pattern], model=model) is is_so
    assert holds("model", "is", ["other", pattern], model=model) is is_so
    assert holds("model", "is_not", [pattern], model=model) is not is_so


def test_any_of_several_names_tags_and_phrases_counts() -> None:
    assert holds("tenant", "is", ["a", "b"], tenant="B")
    assert holds("tags", "has", ["EU", "us"], tags=frozenset({"eu"}))
    assert holds("tags", "has_not", ["us"], tags=frozenset({"eu"}))
    assert not holds("tags", "has_not", ["us", "eu"], tags=frozenset({"eu"}))
    assert holds("text", "contains", ["never", "STRASSE"], text="In der Straße")
    assert not holds("text", "contains_not", ["never", "STRASSE"], text="In der Straße")


def test_numbers_are_at_least_below_or_between() -> None:
    assert [holds("tokens", "at_least", 5.0, tokens=tokens) for tokens in (4, 5, 6)] == [False, True, True]
    assert [holds("tokens", "below", 5.0, tokens=tokens) for tokens in (4, 5, 6)] == [True, False, False]
    assert [holds("tokens", "between", [5.0, 6.0], tokens=tokens) for tokens in (4, 5, 6)] == [False, True, False]
    assert holds("tools", "is", False)
    assert holds("tools", "is", True, tools=True)


def test_what_nobody_looked_at_meets_no_condition() -> None:
    assert not holds("complexity", "below", 0.5)
    assert not holds("complexity", "at_least", 0.0)
    assert not holds("language", "is_not", ["en"])
    assert holds("language", "is_not", ["en"], language="und")
    assert holds("complexity", "below", 0.5, scores={"complexity": 0.25})


@pytest.mark.parametrize(
    ("hours", "moment", "is_so"),
    [
        ({}, "2026-03-01 00:00", True),
        ({"since": "09:00", "until": "17:30"}, "2026-03-02 09:00", True),
        ({"since": "09:00", "until": "17:30"}, "2026-03-02 17:30", False),
        ({"since": "09:00", "until": "24:00"}, "2026-03-02 23:59", True),
        ({"days": ["mon"]}, "2026-03-02 12:00", True),
        ({"days": ["mon"]}, "2026-03-03 00:00", False),
        ({"since": "22:00", "until": "06:00", "days": ["fri"]}, "2026-03-06 23:00", True),
        ({"since": "22:00", "until": "06:00", "days": ["fri"]}, "2026-03-07 05:59", True),  # it began on Friday
        ({"since": "22:00", "until": "06:00", "days": ["fri"]}, "2026-03-06 05:00", False),
        ({"since": "22:00", "until": "06:00"}, "2026-03-06 12:00", False),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_hours_are_of_a_zone_and_go_over_midnight(hours: dict[str, Any], moment: str, is_so: bool, zone: str) -> None:
    at = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone)).timestamp()
    assert holds("time", "within", {**hours, "zone": zone}, at=at) is is_so


@pytest.mark.parametrize("at", [float("nan"), float("inf"), 1e300, -1e300])
def test_a_time_that_is_none_is_within_no_hours(at: float) -> None:
    assert not holds("time", "within", {}, at=at)


def test_each_thing_is_decided_by_the_first_rule_that_says_it() -> None:
    rules = rule_set(
        {"then": {"use": ["a", "b"], "most_tokens": 5, "never": ["x"], "only": ["a*", "b"]}},
        {"then": {"use": ["c"], "most_cost": "0.015", "aim": {"quality": 0.9}, "never": ["y", "x"], "only": ["a"]}},
        {"then": {"most_tokens": 1, "cascade": False, "context": "trim", "local_only": True}},
        {"then": {"cache": {"read": False, "ttl_s": 60.0}, "shadow": {"model": "s", "share": 0.5}}},
        {"then": {"cache": {"write": False}, "cascade": True, "context": "refuse", "aim": {"share": 0.1}}},
    )
    assert rules.decide(Facts()) == Verdict(
        version=1,
        matched=(
            Matched(rule="rule 1", place=1, did=("use", "most_tokens", "only", "never")),
            Matched(rule="rule 2", place=2, did=("most_cost", "aim", "only", "never")),
            Matched(rule="rule 3", place=3, did=("cascade", "context", "local_only")),
            Matched(rule="rule 4", place=4, did=("cache", "shadow")),
            Matched(rule="rule 5", place=5, did=()),
        ),
        use=("a", "b"),
        use_rule="rule 1",
        is_local_only=True,
        only=(("a*", "b"), ("a",)),
        never=("x", "y"),
        most_tokens=5,
        most_micros=15_000,
        aim=Aim(quality=0.9),
        cascade=False,
        context="trim",
        cache=CachePolicy(read=False, ttl_s=60.0),
        shadow=Shadow(model="s", share=0.5, rule="rule 4"),
    )


def test_a_model_may_be_asked_that_every_rule_lets_through() -> None:
    """A later rule takes nothing back of what an earlier one holds together."""
    verdict = rule_set(
        {"then": {"only": ["eu/*", "local"]}}, {"then": {"only": ["*/big", "local"], "never": ["eu/x*"]}}
    )
    asked = verdict.decide(Facts())
    names = ("local", "LOCAL:latest", "eu/big", "eu/small", "us/big", "eu/xl/big")
    assert [name for name in names if asked.may_ask(name)] == ["local", "LOCAL:latest", "eu/big"]
    assert Verdict().may_ask("anything")


def test_the_order_of_rules_decides() -> None:
    one, other = {"then": {"use": ["a"]}}, {"then": {"use": ["b"]}}
    assert rule_set(one, other).decide(Facts()).use == ("a",)
    assert rule_set(other, one).decide(Facts()).use == ("b",)


def test_after_the_last_rule_and_after_a_refusal_nobody_is_asked() -> None:
    last = rule_set({"then": {"is_last": True}}, {"then": {"use": ["a"]}}).decide(Facts())
    assert (last.use, len(last.matched), last.matched[0].did) == (None, 1, ("is_last",))
    forbidden = rule_set({"then": {"never": ["x"]}}, {"then": {"forbid": "Not here."}}, {"then": {"use": ["a"]}})
    verdict = forbidden.decide(Facts())
    assert (verdict.forbid, verdict.forbid_rule, verdict.use) == ("Not here.", "rule 2", None)
    assert verdict.never == ("x",)


def test_an_expression_is_asked_only_where_the_conditions_hold() -> None:
    rules = rule_set({"when": [when("text", "contains", ["a"])], "expression": "int(text) > 1"})
    assert rules.decide(Facts(text="b")).failed == ()
    assert rules.decide(Facts(text="a")).failed == ("rule 1",)


def test_arms_are_taken_by_weight_and_one_word_stays_on_its_arm() -> None:
    arms = [
        {"name": "a", "use": ["a"], "weight": 1.0},
        {"name": "b", "use": ["b"], "weight": 2.0},
        {"name": "c", "use": ["c", "d"], "weight": 7.0},
    ]
    rules = rule_set({"then": {"split": {"arms": arms}}})
    verdicts = [rules.decide(Facts(sticky=f"word {at}")) for at in range(10_000)]
    assert verdicts == [rules.decide(Facts(sticky=f"word {at}", request=str(at))) for at in range(10_000)]
    counts = Counter(verdict.arm for verdict in verdicts)
    for arm, share in (("a", 0.1), ("b", 0.2), ("c", 0.7)):  # four standard deviations, of words that are always these
        assert abs(counts[arm] - 10_000 * share) < 4 * (10_000 * share * (1 - share)) ** 0.5
    assert {verdict.use for verdict in verdicts if verdict.arm == "c"} == {("c", "d")}
    assert {verdict.split for verdict in verdicts} == {"rule 1"}


@pytest.mark.parametrize(
    ("by", "same", "other"),
    [
        ("request", {"request": "1", "sticky": "x"}, {"request": "{}"}),
        ("conversation", {"sticky": "1", "request": "x"}, {"sticky": "{}"}),
        ("key", {"tenant": "t", "key": "1", "sticky": "x"}, {"tenant": "t", "key": "{}"}),
        ("key", {"sticky": "1", "request": "x"}, {"sticky": "{}"}),  # who showed none
        ("tenant", {"tenant": "1", "key": "x"}, {"tenant": "{}"}),
    ],
)
def test_a_split_is_by_what_it_says(by: str, same: dict[str, str], other: dict[str, str]) -> None:
    arms = [{"name": "a", "use": ["a"]}, {"name": "b", "use": ["b"]}]
    rules = rule_set({"then": {"split": {"arms": arms, "by": by}}})

    def arm(facts: dict[str, str], word: str) -> str:
        return rules.decide(Facts(**{name: value.format(word) for name, value in facts.items()})).arm  # type: ignore[arg-type]

    assert {arm(same | {"model": word}, "") for word in "abcdefghijkl"} == {arm(same, "")}
    assert {arm(other, str(at)) for at in range(40)} == {"a", "b"}


def test_a_canary_that_does_not_draw_a_request_says_nothing() -> None:
    rules = rule_set({"then": {"canary": {"use": ["new"], "share": 0.25}}}, {"then": {"use": ["old"]}})
    verdicts = [rules.decide(Facts(sticky=f"word {at}")) for at in range(4_000)]
    drawn = [verdict for verdict in verdicts if verdict.arm == "canary"]
    assert abs(len(drawn) - 1_000) < 4 * (4_000 * 0.25 * 0.75) ** 0.5
    assert {(verdict.use, verdict.use_rule, verdict.split) for verdict in drawn} == {(("new",), "rule 1", "rule 1")}
    others = [verdict for verdict in verdicts if verdict not in drawn]
    assert {(verdict.use, verdict.use_rule, verdict.split, verdict.arm) for verdict in others} == {
        (("old",), "rule 2", "", "")
    }
    assert {verdict.matched[0].did for verdict in others} == {()}


def test_draws_are_the_same_always_and_differ_by_rule() -> None:
    assert draw("rule", "word") == 0.9362150887156474
    assert len({draw(rule, word) for rule in ("a", "ab") for word in ("bc", "c", "")}) == 6


def test_a_rule_that_cannot_be_answered_is_told_once_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    broken = [
        {"name": "fact", "when": [when("weather", "is", ["rain"])]},
        {"name": "zone", "when": [when("time", "within", {"zone": "Nowhere"})]},
        {"name": "value", "when": [when("tokens", "at_least", ["a"])]},
        {"name": "syntax", "expression": "tokens >"},
        {"name": "name", "expression": "nothing == 1"},
        {"name": "words", "when": [when("tools", "is", True)], "expression": "tokens"},
        {"name": "right", "then": {"use": ["m"]}},
    ]
    rules = compile_rules(read_document({"rules": broken}), 3)
    with caplog.at_level(logging.WARNING):
        verdicts = [rules.decide(Facts(tools=True)) for _ in range(3)]
    assert {verdict.failed for verdict in verdicts} == {("fact", "zone", "value", "syntax", "name", "words")}
    assert {verdict.use for verdict in verdicts} == {("m",)}
    assert len(caplog.records) == 6
    assert all("of version 3 could not be answered" in record.message for record in caplog.records)


def test_what_was_not_heard_is_told_as_such() -> None:
    rules = rule_set(
        {"when": [when("text", "contains", ["a"])], "then": {"use": ["a"]}},
        {"expression": "text == 'b'", "then": {"use": ["b"]}},
        {"then": {"use": ["c"]}},
    )
    verdict = rules.decide(Facts(text=None))
    assert (verdict.unheard, verdict.use, verdict.heard) == (("rule 1", "rule 2"), ("c",), {})
    heard = rules.decide(Facts(text="b")).heard
    assert sorted(heard.values()) == [False, True]
    assert rules.decide(Facts(text=None), heard=heard).use == ("b",)


@pytest.mark.parametrize(
    "asks",
    [
        {"when": [when("task", "is", ["code"])]},
        {"when": [when("task", "is_not", ["code"])]},
        {"when": [when("language", "is", ["de*"])]},
        {"when": [when("complexity", "at_least", 0.5)]},
        {"when": [when("budget_left", "below", 0.5)]},
        {"when": [when("budget_left", "at_least", 0.5)]},
        {"expression": "task == 'code'"},
        {"expression": "text.contains('a') || complexity < 0.5"},
        {"expression": "budget_left < 0.5"},
    ],
)
def test_what_nobody_looked_up_is_told_as_such(asks: dict[str, Any]) -> None:
    untold = frozenset({"analysis", "budget_left"})
    tagged = {**asks, "when": [*asks.get("when", []), when("tags", "has", ["eu"])]}
    for rule, unheard in ((asks, ("rule 1",)), (tagged, ())):
        verdict = rule_set({**rule, "then": {"use": ["a"]}}).decide(Facts(untold=untold, text=""))
        assert (verdict.unheard, verdict.use) == (unheard, None)
    assert rule_set(asks).decide(Facts(text="")).unheard == (), "somebody did, and nothing came of it"


@pytest.mark.parametrize(
    ("then", "is_met"),
    [
        ({"local_only": True}, True),
        ({"forbid": "no"}, True),
        ({"only": ["a"]}, True),
        ({"never": ["a"]}, True),
        ({"cache": {"write": False}}, True),
        ({"use": ["a"]}, False),
        ({"cache": {"read": False}}, False),
    ],
)
def test_of_a_conversation_that_is_cut_a_rule_that_keeps_something_counts_as_met(
    then: dict[str, Any], is_met: bool
) -> None:
    contains, lacks = (when("conversation", op, ["secret"]) for op in ("contains", "contains_not"))
    tagged = when("tags", "has", ["hr"])
    asks = {"expression": "!conversation.contains('secret')"}
    for asked in ({"when": [contains, tagged]}, {"when": [lacks, tagged]}, {**asks, "when": [tagged]}):
        rules = rule_set({**asked, "then": then})
        verdict = rules.decide(Facts(conversation="nothing of it", is_cut=True, tags=frozenset({"hr"})))
        assert (verdict.unread, bool(verdict.matched)) == (("rule 1",), is_met)
        again = rules.decide(Facts(is_cut=True, tags=frozenset({"hr"})), heard=verdict.heard)
        assert again == verdict
        assert rules.decide(Facts(conversation="nothing of it", is_cut=True)) == Verdict(version=1)
    found = rule_set({"when": [contains], "then": then}).decide(Facts(conversation="A SECRET", is_cut=True))
    assert (found.unread, bool(found.matched)) == ((), True)
    found = rule_set({"when": [lacks], "then": then}).decide(Facts(conversation="A SECRET", is_cut=True))
    assert (found.unread, bool(found.matched)) == ((), False)


def test_needs_are_the_facts_that_rules_which_are_on_ask_for() -> None:
    rules = rule_set(
        {"when": [when("model", "is", ["a"])], "expression": "hour > 3 && complexity < 0.5"},
        {"when": [when("tags", "has", ["a"])], "is_on": False},
    )
    assert rules.needs == {"model", "time", "complexity"}
    assert rule_set().needs == frozenset()


def test_facts_are_kept_without_their_text() -> None:
    assert Facts(text="secret", model="m").to_json() == {"model": "m", "text": None}
    untold = Facts(untold=frozenset({"budget_left", "analysis"}))
    assert untold.to_json() == {"text": None, "untold": ["analysis", "budget_left"]}
    assert Facts.from_json(untold.to_json()).untold == untold.untold
    assert Facts.from_json({"model": "m", "text": None, "of_a_later_release": 1}) == Facts(model="m", text=None)
