"""The grammar (GBNF) that keeps an answer within a `format`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from llama_cpp.llama_grammar import json_schema_to_gbnf

from orchestrator.core.errors import BadRequest

LARGEST_SCHEMA, DEEPEST_SCHEMA, LARGEST_GRAMMAR = 64 * 1024, 32, 512 * 1024  # characters, levels, characters
MOST_REPEATS = 1000  # a counted rule is written out that many times
_REPEAT = re.compile(r"\{(\d{1,12})(?:,(\d{0,12}))?\}")
_COUNTS = {"minItems", "maxItems", "minLength", "maxLength"}

# Any JSON object. White space is bounded: a small model would otherwise write it until it is cut.
JSON_GRAMMAR = r"""
root   ::= object
value  ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws ( string ":" ws value ws ("," ws string ":" ws value ws)* )? "}"
array  ::= "[" ws ( value ws ("," ws value ws)* )? "]"
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt/] | "u" [0-9a-fA-F]{4}) )* "\""
number ::= "-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,3})?
ws     ::= | " " | "\n" [ \t]{0,20}
"""


def grammar_for(format: str | Mapping[str, Any] | None) -> str | None:
    """The grammar for a request's `format`; None when it asks for nothing.

    Raises BadRequest when it is not "json" or a JSON Schema that can be turned into a grammar.
    """
    if not format:
        return None
    if format == "json":
        return JSON_GRAMMAR
    if not isinstance(format, Mapping):
        raise invalid(json.dumps(format)[:100])
    _check(format, DEEPEST_SCHEMA)
    text = json.dumps(_rooted(format))
    if len(text) > LARGEST_SCHEMA:
        raise invalid(f"the schema is longer than {LARGEST_SCHEMA} characters")
    try:
        grammar: str = json_schema_to_gbnf(text)
    # The converter fails in as many ways as a schema can be wrong: assertions, KeyError, TypeError, recursion.
    except Exception as error:  # noqa: BLE001
        raise invalid(str(error)[:200] or type(error).__name__) from None
    if len(grammar) > LARGEST_GRAMMAR:
        raise invalid("the schema is too large")
    return grammar


def _check(part: Any, levels: int) -> None:
    if levels == 0:
        raise invalid(f"the schema is nested more than {DEEPEST_SCHEMA} deep")
    if isinstance(part, Mapping):
        for name, value in part.items():
            if name in _COUNTS and isinstance(value, int) and value > MOST_REPEATS:
                raise invalid(f"{name} is {value}; {MOST_REPEATS} at most can be enforced")
            if name == "pattern" and isinstance(value, str) and _repeats(value) > MOST_REPEATS:
                raise invalid(f"the pattern {value[:50]!r} repeats more than {MOST_REPEATS} times")
            _check(value, levels - 1)
    elif isinstance(part, list | tuple):
        for value in part:
            _check(value, levels - 1)


def _repeats(pattern: str) -> int:
    """How often the innermost part of a regular expression may be repeated by its counts, at most."""
    counts = [max(int(count) for count in pair if count) for pair in _REPEAT.findall(pattern)]
    return math.prod(count for count in counts if count)


def _rooted(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same schema without a reference at its root, which the converter does not follow any further."""
    path = schema.get("$ref")
    if not isinstance(path, str) or not path.startswith("#/"):
        return schema
    target: Any = schema
    for name in path[2:].split("/"):
        target = target.get(name) if isinstance(target, Mapping) else None
    if not isinstance(target, Mapping):
        raise invalid(f"{path} leads nowhere")
    return {name: value for name, value in schema.items() if name != "$ref"} | dict(target)


def invalid(why: str) -> BadRequest:
    """The error for a `format` that cannot be kept to."""
    return BadRequest(f'invalid format: {why}; expected "json" or a valid JSON Schema object')
