"""From a `format` to a grammar."""

from typing import Any

import pytest

from orchestrator.core.errors import BadRequest
from orchestrator.modelhost.grammar import JSON_GRAMMAR, grammar_for


def nested(levels: int) -> dict[str, Any]:
    return {"type": "array", "items": nested(levels - 1)} if levels else {"type": "string"}


def test_nothing_asked_is_no_grammar():
    assert grammar_for(None) is None
    assert grammar_for("") is None
    assert grammar_for({}) is None


def test_json_is_a_grammar_of_its_own():
    assert grammar_for("json") == JSON_GRAMMAR


def test_a_schema_becomes_a_grammar():
    grammar = grammar_for({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
    assert grammar
    assert "root ::=" in grammar


def test_a_schema_may_refer_to_itself():
    node = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}}}
    grammar = grammar_for({"$defs": {"Node": node}, "$ref": "#/$defs/Node"})
    assert grammar
    assert "Node" in grammar


@pytest.mark.parametrize(
    "format",
    [
        "xml",
        {"type": "nonsense"},
        {"type": 5},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#"},
        {"properties": 1},
        {"enum": 1},
        {"type": "string", "pattern": "unanchored"},
        {"type": "string", "maxLength": 10**9},
        {"type": "array", "items": {}, "minItems": 10**9},
        {"type": "string", "pattern": "^a{100000000}$"},
        {"type": "string", "pattern": "^((a{100}){100}){100}$"},
        {"$ref": "#/$defs/a/b"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"description": "x" * 70_000, "type": "object"},
        nested(100),
    ],
)
def test_what_cannot_be_kept_to_is_refused(format: Any):
    with pytest.raises(BadRequest, match='expected "json" or a valid JSON Schema object'):
        grammar_for(format)
