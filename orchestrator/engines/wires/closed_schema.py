"""Which JSON Schemas OpenAI takes as `strict`: it refuses the others under that word, and takes them without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNKNOWN = frozenset(
    {
        *("allOf", "oneOf", "not", "if", "then", "else"),
        *("patternProperties", "propertyNames", "dependentRequired", "dependentSchemas"),
    }
)


def is_closed(schema: Any) -> bool:
    """Whether it is an object whose objects, at every depth, hold their properties, each of them, and nothing else.

    Names of properties are taken for words of the schema, too: where they are such, it is sooner called open.
    """
    if not isinstance(schema, Mapping) or schema.get("type") != "object":
        return False
    left: list[Any] = [schema]
    while left:
        part = left.pop()
        if isinstance(part, Mapping):
            if UNKNOWN & part.keys() or not _holds_all(part):
                return False
            left += part.values()
        elif isinstance(part, list | tuple):
            left += part
    return True


def _holds_all(part: Mapping[str, Any]) -> bool:
    kind = part.get("type")
    is_object = kind == "object" or (isinstance(kind, list | tuple) and "object" in kind)
    if not is_object and "properties" not in part:
        return True
    properties, required = part.get("properties", {}), part.get("required", [])
    if not isinstance(properties, Mapping) or not isinstance(required, list | tuple):
        return False
    return part.get("additionalProperties") is False and sorted(properties) == sorted(map(str, required))
