"""What is wrong with rules is told, each fault with its place."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.core.documents import WrongDocument
from routing.rules.checking import OPS, faults_in, read_document
from routing.rules.facts import FACTS


def faults(value: Any) -> list[str]:
    """All that is wrong with a document, in fields or together."""
    try:
        return [str(fault) for fault in faults_in(read_document(value))]
    except WrongDocument as error:
        return [str(fault) for fault in error.faults]


def of_condition(fact: str, op: str, value: Any) -> list[str]:
    return faults({"rules": [{"name": "a", "when": [{"fact": fact, "op": op, "value": value}]}]})


def of_actions(**then: Any) -> list[str]:
    return faults({"rules": [{"name": "a", "then": then}]})


VALUE = "rules[0].when[0].value"


@pytest.mark.parametrize(
    ("condition", "fault"),
    [
        (("weather", "is", ["a"]), "rules[0].when[0].fact: there is no such fact; there are model, dialect"),
        (("tokens", "is", ["a"]), "rules[0].when[0].op: tokens takes at_least or below or between"),
        (("tokens", "at_least", ["a"]), f"{VALUE}: a number is wanted"),
        (("tokens", "at_least", True), f"{VALUE}: a number is wanted"),
        (("tokens", "at_least", float("inf")), f"{VALUE}: a number is wanted"),
        (("tokens", "between", 5.0), f"{VALUE}: two numbers are wanted: from, and below"),
        (("tokens", "between", ["a", "b"]), f"{VALUE}: two numbers are wanted: from, and below"),
        (("tokens", "between", [5.0, 5.0]), f"{VALUE}: the first number has to be below the second"),
        (("tools", "is", 1.0), f"{VALUE}: true or false is wanted"),
        (("time", "within", ["mon"]), f"{VALUE}: hours are wanted"),
        (("model", "is", {"zone": "UTC"}), f"{VALUE}: a list of words is wanted"),
        (("model", "is", [1.0, 2.0]), f"{VALUE}: a list of words is wanted"),
        (("text", "contains", ["a", "  "]), f"{VALUE}: a word has more than spaces"),
        (("dialect", "is", ["ollama", "opanai"]), f"{VALUE}[1]: it is ollama or openai or anthropic"),
        (("time", "within", {"zone": "Europe/Nowhere"}), f"{VALUE}.zone: there is no such time zone"),
        (("time", "within", {"zone": "../../etc/passwd"}), f"{VALUE}.zone: there is no such time zone"),
        (("time", "within", {"zone": ""}), f"{VALUE}.zone: there is no such time zone"),
        (("time", "within", {"since": "09:00", "until": "09:00"}), f"{VALUE}.until: it begins and ends at the same"),
        (("time", "within", {"days": ["mon", "mon"]}), f"{VALUE}.days: a day is there twice"),
        (("time", "within", {"days": ["funday"]}), f"{VALUE}.days[0]: should be 'mon', 'tue'"),
        (("time", "within", {"since": "9:00"}), f"{VALUE}.since: a time of day is wanted, as 18:00"),
        (("time", "within", {"zonk": "UTC"}), f"{VALUE}.zonk: there is no such field"),
        (("model", "is", "a"), f"{VALUE}: a list of words is wanted, of 1 to 200"),
        (("model", "is", []), f"{VALUE}: a list of words is wanted, of 1 to 200"),
        (("tokens", "at_least", "12"), f"{VALUE}: a number is wanted"),
        (("tokens", "between", 5), f"{VALUE}: two numbers are wanted: from, and below"),
        (("time", "within", "night"), f"{VALUE}: hours are wanted, as days, since, until and zone"),
    ],
)
def test_a_condition_whose_parts_do_not_fit_is_refused(condition: tuple[str, str, Any], fault: str) -> None:
    found = of_condition(*condition)
    assert len(found) == 1
    assert found[0].startswith(fault)


@pytest.mark.parametrize(
    ("then", "fault"),
    [
        ({"use": ["a"], "canary": {"use": ["b"], "share": 0.1}}, "canary: use says already who is asked"),
        ({"forbid": "no", "use": ["a"]}, "use: a request that is refused is not asked of anybody"),
        ({"forbid": " "}, "forbid: say why"),
        ({"use": ["a", "a"]}, "use[1]: it is there twice"),
        ({"use": ["a*"]}, "use[0]: a model is named in full"),
        ({"use": [" a"]}, "use[0]: a model is named in full"),
        ({"aim": {}}, "aim: either share or quality is wanted"),
        ({"aim": {"share": 0.5, "quality": 0.5}}, "aim: either share or quality is wanted"),
        ({"shadow": {"model": "auto", "share": 0.5}}, "shadow.model: a model is wanted"),
        ({"shadow": {"model": "a*", "share": 0.5}}, "shadow.model: a model is named in full"),
        ({"canary": {"use": ["b"], "share": 1.5}}, "canary.share: should be less than or equal to 1"),
        (
            {"split": {"arms": [{"name": "a", "use": ["m"]}, {"name": "a", "use": ["n*"]}]}},
            "split.arms[1].name: another arm is called so",
        ),
    ],
)
def test_actions_that_contradict_each_other_are_refused(then: dict[str, Any], fault: str) -> None:
    assert of_actions(**then)[0].startswith(f"rules[0].then.{fault}")


def test_everything_that_is_wrong_is_told_and_where() -> None:
    rules = [
        {"name": "a"},
        {"name": "A"},
        {"name": " b", "expression": "tokens >\n foo"},
    ]
    assert faults({"rules": rules, "auto": {"aim": {}}}) == [
        "rules[1].name: rules[0] is called so already",
        "rules[2].name: a name has no space at its ends, and nothing that cannot be printed",
        "rules[2].expression: line 2, column 2: there is no foo here",
        "auto.aim: either share or quality is wanted",
    ]


def test_fields_are_told_with_their_places() -> None:
    assert faults({"rules": [{"name": "", "when": 3, "whn": []}], "x": 1}) == [
        "rules[0].name: string should have at least 1 character",
        "rules[0].when: should be a valid list",
        "rules[0].whn: there is no such field",
        "x: there is no such field",
    ]
    assert faults([]) == ["an object is wanted"]


def test_a_field_called_value_is_no_value_of_a_condition() -> None:
    assert faults({"rules": [{"name": "a", "value": 5}]}) == ["rules[0].value: there is no such field"]
    assert of_actions(value=1) == ["rules[0].then.value: there is no such field"]


def test_what_has_one_form_is_told_with_an_example() -> None:
    wanted = ['rules[0].then.most_cost: dollars are wanted, as text: "0.05"']
    assert of_actions(most_cost=0.05) == of_actions(most_cost="5c") == wanted
    arms = [{"name": "x", "use": ["y"]}]
    assert of_actions(split={"arms": arms}) == ["rules[0].then.split.arms: list should have at least 2 items, not 1"]


def test_expressions_are_counted() -> None:
    rules = [{"name": str(at), "expression": "tools"} for at in range(201)]
    assert faults({"rules": rules}) == ["rules[200].expression: there may be 200 expressions"]


def test_every_kind_of_fact_has_its_ways_to_be_compared() -> None:
    assert {fact.kind for fact in FACTS.values()} == OPS.keys()
