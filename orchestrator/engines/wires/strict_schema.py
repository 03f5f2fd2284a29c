"""JSON Schemas in the subset that providers compile into a grammar."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

KEPT = frozenset({"type", "enum", "const", "$ref", "description", "title", "required"})
EACH_OF = frozenset({"properties", "$defs", "definitions"})  # objects of schemas
ONE_OF = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}  # lists of schemas
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
        elif name in KEPT or (name == "format" and value in FORMATS) or (name == "minItems" and value in (0, 1)):
            made[name] = value
        elif name not in {"additionalProperties", "$schema", "$id"}:
            told[name] = value
    if made.get("type") == "object" or "properties" in made:
        made["additionalProperties"] = False
    if told:
        words = json.dumps(told)
        made["description"] = f"{made['description']}\n\n{words}" if made.get("description") else words
    return made
