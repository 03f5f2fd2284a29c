"""Answers that are to be JSON are, or are no answers."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import Mock

import pytest
from jsonschema_rs import validator_for

from orchestrator.adaptation import json_answers, schemas, written
from orchestrator.adaptation.json_answers import WrongForm, settled
from orchestrator.adaptation.schemas import Form
from orchestrator.core.types import ChatRequest, Message
from tests.adaptation.pieces import Spoken, text_of, through

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def wrong_with(value: Any, schema: dict[str, Any]) -> str:
    return Form(schema).wrong_with(value)


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
        '{"n": 1}}',
        '{"n": 1,} That is all.',
        'As [1] and [see below] say, it is {"n": 1}.',
        'Of the set {x, y} that makes {"n": 1}.',
        'First {"m": 2}, hence {"n": 1}; so {"n": 1}.',
        'As [{"n": 2}] is to {"n": 1}.',
        "```python\nn = [1]\n```\n\n```json\n{'n': 1}\n```",
        '```json\n{"m": 2}\n```\nHence:\n```json\n{"n": 1}\n```',
        'So:\n```\n{"n": 1\n```\nThat is all.',
    ],
)
async def test_what_is_nearly_right_is_put_right(said: str) -> None:
    heard = await through(json_answers.checking(SCHEMA), Spoken(*said))
    assert json.loads(text_of(heard)) == {"n": 1}
    assert heard[-1].done is not None


@pytest.mark.parametrize("said", ['{"n": 1}', ' {"n" : 1}\n', '{"n":1e0}'])
async def test_what_is_right_stays_as_it_is(said: str) -> None:
    assert text_of(await through(json_answers.checking(SCHEMA), Spoken(*said))) == said


@pytest.mark.parametrize("said", ["", "No.", '{"n": "one"}', "{}", "[1]", '"text"', 'It is {"n": "one"}.'])
async def test_what_cannot_be_put_right_is_no_answer(said: str) -> None:
    with pytest.raises(WrongForm, match="JSON"):
        await through(json_answers.checking(SCHEMA), Spoken(said))


@pytest.mark.parametrize("said", ['"text"', "3", "null", "No."])
def test_without_a_schema_an_object_is_wanted(said: str) -> None:
    with pytest.raises(WrongForm):
        settled(said, None)


@pytest.mark.parametrize(
    "said",
    [
        '{"n": 1} or {"n": 2}',
        '{"n": 1}\n{"n": 2}',
        '{"n": 1,} or {"n": 2}',
        '{"n": 1}, else {"n": 2',
        '```json\n{"n": 1}\n```\n```json\n{"n": 2}\n```',
        '```json\n{"n": 1\n```\n```json\n{"n": 2}\n```',
        '{"m": {"n": 1},',
        "It is {'n': 1}.",
        "The set {x, y} has n: 1.",
        'I write { for it: {"n": 1}',
    ],
)
def test_what_may_be_another_is_no_answer(said: str) -> None:
    with pytest.raises(WrongForm, match="JSON"):
        settled(said, SCHEMA)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ('According to [1], the answer is {"answer": 42}.', {"answer": 42}),
        ('The set {x, y} maps so: {"answer": 42}', {"answer": 42}),
        ('[Note] It is {"answer": 42}', {"answer": 42}),
        ('{x, y} maps so: {"answer": 42}', {"answer": 42}),
        ("[1, 2,]", [1, 2]),
        ("```json\n[1, 2]\n```", [1, 2]),
        ('So: ```json\n{"code": "```py\\n}```"}\n``` [1]', {"code": "```py\n}```"}),
        ('So: ```json\n{"code": "```py\\n}```",}\n```', {"code": "```py\n}```"}),
        ("{'said': 'a } b', 'more': \"it's {\"}", {"said": "a } b", "more": "it's {"}),
        ('{"said": "one\nline"} [1]', {"said": "one\nline"}),
    ],
)
def test_without_a_schema_it_is_the_object_that_is_meant(said: str, meant: Any) -> None:
    assert json.loads(settled(said, None)) == meant


@pytest.mark.parametrize("said", ["It is 42 [1].", "[1] says 42.", "[Note] It is 42.", "{x, y} is a set.", "[1], [2]"])
def test_a_list_with_words_around_it_is_no_object(said: str) -> None:
    with pytest.raises(WrongForm):
        settled(said, None)


async def test_an_answer_that_was_cut_is_passed_on() -> None:
    assert text_of(await through(json_answers.checking(SCHEMA), Spoken('{"n": ', reason="length"))) == '{"n": '


@pytest.mark.parametrize(
    "said", ['{"n": 1', '{"n": 1, "why": "x ', 'So: {"n": 1', '```json\n{"n": 1', '{"n": 1} or {"n']
)
async def test_what_a_stop_string_took_is_not_guessed(said: str) -> None:
    for told in ("END", ""):
        step = json_answers.checking(SCHEMA, has_stops=not told)
        assert text_of(await through(step, Spoken(said, stop_string=told))) == said
        assert (
            text_of(await through(json_answers.checking("json", has_stops=True), Spoken(said, stop_string=told)))
            == said
        )


@pytest.mark.parametrize(
    "said", ['{"n": 1}', '{"n": 1,}', "{'n': 1}\n", '```json\n{"n": 1}\n', 'It is {"n": 1}. I hope']
)
def test_what_is_whole_before_a_stop_string_is_put_right(said: str) -> None:
    assert json.loads(settled(said, SCHEMA, may_be_cut=True)) == {"n": 1}


@pytest.mark.parametrize("said", ["No.", "", '{"n": "one"}'])
def test_what_is_wrong_before_a_stop_string_is_no_answer(said: str) -> None:
    with pytest.raises(WrongForm, match="JSON"):
        settled(said, SCHEMA, may_be_cut=True)


def test_a_long_answer_that_a_stop_string_ended_stays_as_it_is() -> None:
    long = f'{{"n": [{"1, " * written.LONGEST}'
    assert settled(long, SCHEMA, may_be_cut=True) == long


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


def kept_apart(levels: int) -> dict[str, Any]:
    """A schema in which what is left over is asked for at each level, and so what is in it once more."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"anyOf": [schema], "unevaluatedProperties": {"type": "integer"}}
    return schema


BRANCHES = {"anyOf": [{"const": f"branch {at}"} for at in range(1000)]}
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
    "doubled by patterns": (
        nested(14),
        {"patternProperties": {"x": {"$ref": "#"}, "^x": {"$ref": "#"}, "x$": {"$ref": "#"}}, "minProperties": 1},
    ),
    "doubled by what depends": (
        {"x": 1, "y": 1},
        {
            "$ref": "#/$defs/20",
            "$defs": {"0": {"type": "string"}}
            | {
                str(at): {"dependencies": {name: {"$ref": f"#/$defs/{at - 1}"} for name in ("x", "y")}}
                for at in range(1, 21)
            },
        },
    ),
    "doubled by what is left over": ({"x": 1}, kept_apart(14)),
    "long": (["branch 999"] * 3000 + [0], {"items": BRANCHES}),
    "long beside what is long": ([{}] * 3000 + [0], {"items": {"enum": [{}, *range(1, 1000)]}}),
    "a large pattern": ("no", {"pattern": "^(a{0,100}){0,50}$"}),
    "a pattern with much to read": ("b" * 250_000, {"pattern": "^a+$"}),
    "many patterns": ("b", {"allOf": [{"pattern": f"a{at}"} for at in range(200)]}),
    "many parts": ("b", {"const": "a", "properties": {str(at): {} for at in range(10_000)}}),
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


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ({"a": [0] * 200}, {"properties": {"a": {"items": BRANCHES}}}),
        ({"a": [0] * 200}, {"anyOf": [{"properties": {"a": {"items": BRANCHES}}}]}),
        ("a" * 100_000, BRANCHES),
        ({f"{at}": "a" * 100 for at in range(1000)}, {"oneOf": [{"propertyNames": {"const": "a"}}]}),
    ],
)
def test_where_much_may_be_wrong_it_is_not_told_what(value: Any, schema: dict[str, Any]) -> None:
    """To say so of each branch for each item takes seconds, and a copy of the item."""
    assert wrong_with(value, schema) == "it would take too long to tell where"


def test_a_long_answer_is_checked() -> None:
    item: dict[str, Any] = {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "name": {"anyOf": [{"type": "string"}, {}]}},
    }
    schema = {"properties": {"items": {"type": "array", "items": item | {"required": ["id", "name"]}}}}
    long = [{"id": at, "name": "one of many"} for at in range(10_000)]
    assert wrong_with({"items": long}, schema) == ""
    assert wrong_with({"items": [*long, {"id": "one", "name": ""}]}, schema) == "it would take too long to tell where"
    assert wrong_with({"items": [*long[:50], {"id": "one", "name": ""}]}, schema) == "`type` does not hold, 3 deep"
    item["properties"]["name"] = {"type": "string"}
    assert wrong_with({"items": [*long, {"id": "one", "name": ""}]}, schema) == "`type` does not hold, 3 deep"


def test_a_schema_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Mock(wraps=validator_for)
    monkeypatch.setattr(schemas, "validator_for", read)
    assert json.loads(settled('As {"n": "one"} is to {"n": 1}, {"n": "two"} is to that.', SCHEMA)) == {"n": 1}
    read.assert_called_once()


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


@pytest.mark.parametrize("name", ["id", "$id", "$anchor"])
def test_a_property_may_have_the_name_of_a_word(name: str) -> None:
    schema = {"properties": {name: {"type": "integer"}, "n": {"type": "integer"}}}
    assert wrong_with({name: 1, "n": 1}, schema) == ""
    assert wrong_with({name: 1, "n": "one"}, schema) == "`type` does not hold, 1 deep"


def test_models_of_several_kinds_that_hold_each_other_are_checked() -> None:
    """What is in a list is looked at no oftener than the list."""
    kinds = ("row", "column", "text")
    below = {"type": "array", "items": {"$ref": "#/$defs/any"}}
    schema = {
        "$ref": "#/$defs/any",
        "$defs": {"any": {"anyOf": [{"$ref": f"#/$defs/{kind}"} for kind in kinds]}}
        | {kind: {"properties": {"kind": {"const": kind}, "below": below}, "required": ["kind"]} for kind in kinds},
    }

    def tree(leaf: str, depth: int) -> Any:
        if not depth:
            return {"kind": leaf, "below": []}
        return {"kind": "column", "below": [tree("text", depth - 1), tree("row", depth - 1), tree(leaf, depth - 1)]}

    assert wrong_with(tree("text", 4), schema) == ""
    assert wrong_with(tree("picture", 4), schema)


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
