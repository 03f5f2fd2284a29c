"""The form of an answer from Anthropic: a schema that its grammar holds, or else words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.types import Message
from orchestrator.engines.wires.anthropic import Anthropic
from orchestrator.engines.wires.strict_schema import can_be_said, strict
from tests.engines.exchange import SCHEMA, asked, hello


def test_a_schema_is_closed_and_what_no_grammar_holds_is_told() -> None:
    schema = {
        "type": "object",
        "additionalProperties": True,
        "properties": {"n": {"type": "integer", "minimum": 1, "description": "How many."}, "at": {"$ref": "#/$defs/p"}},
        "$defs": {"p": {"oneOf": [{"type": "object", "properties": {}}, {"type": "null"}]}},
    }
    assert strict(schema) == {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "n": {"type": "integer", "description": 'How many.\n\n{"minimum": 1}'},
            "at": {"$ref": "#/$defs/p"},
        },
        "$defs": {
            "p": {"anyOf": [{"type": "object", "properties": {}, "additionalProperties": False}, {"type": "null"}]}
        },
    }
    form = hello(Anthropic(), format=schema)["output_config"]["format"]
    assert form == {"type": "json_schema", "schema": strict(schema)}
    assert "one JSON object" in hello(Anthropic(), format="json")["system"][0]["text"]


NUMBER = {"type": "integer"}
NAMED = {"type": "object", "properties": {"n": NUMBER}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": NUMBER},
        {"type": "object", "additionalProperties": True, "properties": {}},
        {"type": "object", "additionalProperties": {}},
        {"type": "object", "additionalProperties": False, "patternProperties": {"^x": NUMBER}},
        {"type": ["object", "null"]},
        NAMED | {"additionalProperties": NUMBER},
        NAMED | {"properties": {"of": {"type": "object", "additionalProperties": NUMBER}}},
        NAMED | {"properties": {"any": {"description": "Whatever."}}},
        NAMED | {"properties": {"any": True}},
        NAMED | {"anyOf": [{"required": ["n"]}, {"required": ["m"]}]},
        {"type": "array", "items": {"type": "object"}},
        {"anyOf": [NAMED, {"type": "object"}]},
        {"allOf": [NAMED, {"type": "object", "properties": {"m": NUMBER}}]},
        {"anyOf": [NAMED], "oneOf": [NAMED]},
        {"$ref": "#/$defs/p", "$defs": {"p": {"type": "object"}}},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("system", ["", "Be brief."])
def test_a_schema_that_anthropics_grammar_cannot_hold_is_asked_for_in_words(schema: Any, system: str) -> None:
    messages = [Message(role="system", content=system), Message(role="user", content="hi")]
    body = asked(Anthropic(), messages, format=schema)
    assert "output_config" not in body
    (block,) = body["system"]
    assert block["text"].startswith(system)
    assert block["text"].endswith(f"fits this JSON Schema, and nothing around it:\n{json.dumps(schema)}")


SUPPORTED, NOT_SUPPORTED = ({"structured_outputs": {"supported": is_so}} for is_so in (True, False))


@pytest.mark.parametrize(
    ("name", "able", "is_bound"),
    [
        ("claude-opus-4-1", None, True),
        ("claude-haiku-4-5-20251001", None, True),
        ("claude-fable-5", None, True),
        ("claude-sonnet-4-20250514", None, False),
        ("claude-opus-4-0", None, False),
        ("claude-3-5-haiku-latest", None, False),
        ("glm-5", None, True),
        ("claude-sonnet-4-20250514", {}, False),
        ("claude-opus-4-1", {}, True),
        ("claude-sonnet-4-20250514", SUPPORTED, True),
        ("claude-opus-4-1", NOT_SUPPORTED, False),
    ],
)
def test_a_schema_is_asked_for_in_words_where_a_model_of_anthropic_is_not_bound_to_one(
    name: str, able: Any, *, is_bound: bool
) -> None:
    wire = Anthropic()
    (listed,) = wire.offers(json.dumps({"data": [{"id": name, "capabilities": able}]}).encode())
    for offer in [listed] if able else [listed, wire.guess(name)]:
        body = hello(wire, offer=offer, format=SCHEMA)
        assert ("output_config" in body, "system" in body) == (is_bound, not is_bound)


@pytest.mark.parametrize(
    "schema",
    [
        SCHEMA,
        NAMED | {"additionalProperties": True},
        {"type": "object", "properties": {}},
        {"type": "object", "additionalProperties": False},
        {"type": "array", "items": NAMED},
        {"anyOf": [NAMED, {"type": "null"}]},
        {"allOf": [NAMED]},
        {"$ref": "#/$defs/p", "$defs": {"p": NAMED}},
        {"enum": ["a", "b"]},
        {"type": "string", "minLength": 2},
    ],
    ids=json.dumps,
)
def test_a_schema_that_anthropics_grammar_holds_is_kept_to(schema: Any) -> None:
    body = hello(Anthropic(), format=schema)
    assert can_be_said(schema)
    assert body["output_config"]["format"]["schema"] == strict(schema)
    assert "system" not in body


KEYWORDS = ("type", "properties", "items", "allOf", "anyOf", "enum", "format", "minItems", "additionalProperties")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["object", "date", "x"]),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4),
        max_leaves=8,
    )
)
def test_nonsense_for_a_schema_is_left_for_anthropic_to_refuse(value: Any) -> None:
    body = hello(Anthropic(), format={"type": "object"} | (value if isinstance(value, dict) else {"items": value}))
    assert ("output_config" in body) != ("system" in body)


def test_an_object_that_may_be_null_is_closed_as_well() -> None:
    closed = strict(NAMED | {"type": ["object", "null"]})
    assert closed["additionalProperties"] is False
