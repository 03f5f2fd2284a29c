"""JSON Schemas in the subset that providers compile into a grammar."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

KEPT = frozenset({"type", "enum", "const", "$ref", "description", "title", "required"})
EACH_OF = frozenset({"properties", "$defs", "definitions"})  # objects of schemas
ONE_OF = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}  # lists of schemas
LITERAL = frozenset({"$ref", "enum", "const"})
FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})


def strict(schema: Any) -> Any:
    """`schema` with closed objects. What a grammar cannot hold (`minimum`, `pattern` …) is told in the description.

    The model still reads it there, as the rest of its question; it is no longer bound to it.
    """
    if not isinstance(schema, Mapping):
        return schema
    made: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for name, value in schema.items():
        if name in EACH_OF and isinstance(value, Mapping):
            made[name] = {key: strict(part) for key, part in value.items()}
        elif name in ONE_OF and isinstance(value, list):
            made[ONE_OF[name]] = [*made.get(ONE_OF[name], ()), *map(strict, value)]
        elif name == "items":
            made[name] = strict(value)
        elif name in KEPT or (name == "format" and str(value) in FORMATS) or (name == "minItems" and value in (0, 1)):
            made[name] = value
        elif name not in {"additionalProperties", "$schema", "$id"}:
            told[name] = value
    if _is_object(made):
        made["additionalProperties"] = False
    if told:
        words = json.dumps(told)
        made["description"] = f"{made['description']}\n\n{words}" if made.get("description") else words
    return made


def can_be_said(schema: Any) -> bool:
    """Whether a grammar allows what `schema` asks for, once it is closed: an object of any keys would be always empty.

    Neither can it hold a value of any kind, nor what has to be of several forms at once.
    """
    if not isinstance(schema, Mapping):  # `true` is a schema, too
        return False
    forms = [name for name in ONE_OF if name in schema]
    of_all = schema.get("allOf")
    if len(forms) > 1 or (forms and "properties" in schema) or (isinstance(of_all, list) and len(of_all) > 1):
        return False
    if not forms and not LITERAL & schema.keys():
        is_open = _wants_any_keys(schema) if _is_object(schema) else "type" not in schema
        if is_open:
            return False
    return all(map(can_be_said, _within(schema)))


def _is_object(schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type")
    return kinds == "object" or (isinstance(kinds, list) and "object" in kinds) or "properties" in schema


def _wants_any_keys(schema: Mapping[str, Any]) -> bool:
    """Whether an object is to have keys that are not named."""
    others = schema.get("additionalProperties", "properties" not in schema)
    is_told_how = isinstance(others, Mapping) and bool(others)
    may_be_any = others is True or others == {}
    return is_told_how or bool(schema.get("patternProperties")) or (may_be_any and not schema.get("properties"))


def _within(schema: Mapping[str, Any]) -> Iterator[Any]:
    for name, value in schema.items():
        if name in EACH_OF and isinstance(value, Mapping):
            yield from value.values()
        elif name in ONE_OF and isinstance(value, list):
            yield from value
        elif name == "items":
            yield value
