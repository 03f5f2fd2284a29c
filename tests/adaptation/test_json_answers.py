"""Answers that are to be JSON are, or are no answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.adaptation import json_answers
from orchestrator.adaptation.json_answers import WrongForm, settled
from orchestrator.adaptation.schemas import wrong_with
from orchestrator.core.types import ChatRequest, Message
from tests.adaptation.pieces import Spoken, text_of, through

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    "said",
    [
        '```json\n{"n": 1}\n```',
        'Here it is: {"n": 1}. I hope that helps.',
        '{"n": 1,}',
        "{'n': 1}",
        '{"n": 1',
        "{n: 1}",
        '{"n": 1} // one',
    ],
)
async def test_what_is_nearly_right_is_put_right(said: str) -> None:
    heard = await through(json_answers.checking(SCHEMA), Spoken(*said))
    assert json.loads(text_of(heard)) == {"n": 1}
    assert heard[-1].done is not None


@pytest.mark.parametrize("said", ['{"n": 1}', ' {"n" : 1}\n', '{"n":1e0}'])
async def test_what_is_right_stays_as_it_is(said: str) -> None:
    assert text_of(await through(json_answers.checking(SCHEMA), Spoken(*said))) == said


@pytest.mark.parametrize("said", ["", "No.", '{"n": "one"}', "{}", "[1]", '"text"'])
async def test_what_cannot_be_put_right_is_no_answer(said: str) -> None:
    with pytest.raises(WrongForm, match="JSON"):
        await through(json_answers.checking(SCHEMA), Spoken(said))


@pytest.mark.parametrize("said", ['"text"', "3", "null", "No."])
def test_without_a_schema_an_object_is_wanted(said: str) -> None:
    with pytest.raises(WrongForm):
        settled(said, None)


async def test_an_answer_that_was_cut_is_passed_on() -> None:
    assert text_of(await through(json_answers.checking(SCHEMA), Spoken('{"n": ', reason="length"))) == '{"n": '


def test_a_model_that_takes_no_format_is_told_in_words() -> None:
    request = ChatRequest(model="m", format=SCHEMA, messages=(Message(role="user", content="One?"),))
    told = json_answers.in_words(request)
    assert told.format is None
    assert json.dumps(SCHEMA) in told.messages[0].content
    assert told.messages[1:] == request.messages


def nested(levels: int) -> Any:
    """An object in an object in an object."""
    value: Any = {}
    for _ in range(levels):
        value = {"x": value}
    return value


TWICE_BELOW = {"properties": {"x": {"$ref": "#/$defs/n"}}}
HOSTILE = {
    "doubled by names": (
        "x",
        {
            "$ref": "#/$defs/39",
            "$defs": {"0": {"type": "string"}}
            | {str(at): {"allOf": [{"$ref": f"#/$defs/{at - 1}"}] * 2} for at in range(1, 40)},
        },
    ),
    "doubled by depth": (nested(40), {"$ref": "#/$defs/n", "$defs": {"n": {"allOf": [TWICE_BELOW, TWICE_BELOW]}}}),
    "a circle": (1, {"allOf": [{"$ref": "#"}]}),
    "somewhere else": (1, {"$ref": "http://127.0.0.1:9/schema"}),
    "a file": (1, {"$ref": "file:///etc/passwd"}),
    "renamed": (1, {"$id": "http://127.0.0.1:9/", "type": "string"}),
    "no part": (1, {"$ref": "#/$defs/none"}),
    "no schema": (1, {"type": 7}),
    "deep": (nested(100), {"type": "string"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_schema_that_cannot_be_checked_in_bounded_time_asks_for_nothing(name: str) -> None:
    value, schema = HOSTILE[name]
    assert wrong_with(value, schema) == ""


def test_a_pattern_takes_no_longer_for_being_hostile() -> None:
    assert "pattern" in wrong_with("a" * 40 + "!", {"pattern": "^(a+)+$"})


def test_models_that_hold_models_are_checked() -> None:
    """As pydantic writes them."""
    either = {"anyOf": [{"$ref": "#/$defs/M"}, {"type": "null"}]}
    schema = {
        "$defs": {
            "M": {"type": "object", "properties": {"n": {"type": "integer"}, "below": either}, "required": ["n"]}
        },
        "properties": {"m": either},
    }
    good = {"m": {"n": 1, "below": {"n": 2, "below": {"n": 3, "below": None}}}}
    assert wrong_with(good, schema) == ""
    assert wrong_with({"m": {"n": 1, "below": {"n": "2"}}}, schema) == "`anyOf` does not hold, 1 deep"


@pytest.mark.parametrize(
    ("said", "schema"),
    [
        ({"n": "private"}, SCHEMA),
        ({"n": 1, "private": 1}, SCHEMA | {"additionalProperties": False}),
        ({"private": "private"}, {"additionalProperties": {"enum": ["a"]}}),
        ({"n": 1}, {"required": ["private"]}),
    ],
)
def test_what_is_wrong_is_told_without_a_word_of_the_answer(said: Any, schema: dict[str, Any]) -> None:
    wrong = wrong_with(said, schema)
    assert wrong
    assert "private" not in wrong
