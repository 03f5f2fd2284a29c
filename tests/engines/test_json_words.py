"""What is said of JSON to those who want it said, or know no schema."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.core.types import Message
from orchestrator.engines.wires import wire_at
from orchestrator.engines.wires.base import JSON_ASKED, SCHEMA_ASKED, Wire
from orchestrator.engines.wires.openai import OpenAI
from tests.engines.exchange import asked, hello

DEEPSEEK, GROQ, ITSELF = (wire_at("openai", f"https://api.{name}.com/v1") for name in ("deepseek", "groq", "openai"))
BRIEF, HELLO = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}
each_that_wants_the_word = pytest.mark.parametrize("wire", [DEEPSEEK, GROQ, ITSELF])


@each_that_wants_the_word
def test_json_is_called_so_where_nobody_does(wire: Wire) -> None:
    body = asked(wire, [Message(**BRIEF), Message(**HELLO)], format="json")
    assert body["messages"] == [BRIEF, {"role": "system", "content": JSON_ASKED}, HELLO]
    assert body["response_format"] == {"type": "json_object"}
    assert hello(wire, format="json")["messages"] == [{"role": "system", "content": JSON_ASKED}, HELLO]


@each_that_wants_the_word
@pytest.mark.parametrize("role", ["system", "user"])
def test_json_that_is_called_so_is_not_named_again(wire: Wire, role: Any) -> None:
    messages = [Message(role=role, content="Reply in Json."), Message(**HELLO)]
    assert len(asked(wire, messages, format="json")["messages"]) == 2


@each_that_wants_the_word
def test_text_is_not_called_json(wire: Wire) -> None:
    assert hello(wire)["messages"] == [HELLO]


@pytest.mark.parametrize("wire", [OpenAI(), wire_at("openai", "http://localhost:8000/v1")])
def test_others_take_json_without_the_word(wire: Wire) -> None:
    assert hello(wire, format="json")["messages"] == [HELLO]


@pytest.mark.parametrize(
    ("schema", "form"),
    [
        ({"type": "object", "properties": {"city": {"type": "string"}}}, {"type": "json_object"}),
        ({"anyOf": [{"type": "object"}]}, {"type": "json_object"}),
        ({"type": "array"}, None),  # an object is what it would have to be else
    ],
)
def test_deepseek_is_told_of_a_schema_in_words(schema: dict[str, Any], form: dict[str, str] | None) -> None:
    body = hello(DEEPSEEK, "deepseek-chat", format=schema)
    assert body.get("response_format") == form
    assert body["messages"] == [{"role": "system", "content": f"{SCHEMA_ASKED}\n{json.dumps(schema)}"}, HELLO]


def test_a_schema_is_sent_as_one_to_those_who_know_it() -> None:
    for wire in (GROQ, ITSELF):
        body = hello(wire, format={"type": "object"})
        assert (body["response_format"]["type"], body["messages"]) == ("json_schema", [HELLO])
