"""Whether a value fits a JSON Schema that a stranger wrote: in bounded time, and without asking anybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from jsonschema_rs import RegexOptions, validator_for

from orchestrator.core.types import JSON

MOST_STEPS = 2_000_000  # that checking may come to at worst: some tenths of a second
DEEPEST = 64
_IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas")
_BELOW = (
    *("properties", "patternProperties", "additionalProperties", "propertyNames", "unevaluatedProperties"),
    *("items", "prefixItems", "contains", "unevaluatedItems", "additionalItems", "dependencies"),
)
_ELSEWHERE = ("$dynamicRef", "$recursiveRef", "$id", "id", "$anchor", "$dynamicAnchor")


def wrong_with(value: JSON, schema: Mapping[str, JSON]) -> str:
    """Which word of the schema does not hold, and how deep; empty where all do, or that takes too long to tell.

    It is kept with the record, so it says nothing of the value.
    """
    if not _is_bounded(schema, value):
        return ""
    try:
        validator = validator_for(dict(schema), retriever=_nowhere, pattern_options=RegexOptions())
    except ValueError:  # one that cannot be read asks for nothing that could be checked
        return ""
    error = next(validator.iter_errors(value), None)
    if error is None:
        return ""
    return f"`{error.kind.name}` does not hold, {len(error.instance_path)} deep"


def _nowhere(address: str) -> NoReturn:
    raise ValueError(f"a schema cannot be had from {address[:100]}: nobody is asked for it")


def _is_bounded(schema: Mapping[str, JSON], value: JSON) -> bool:
    """Whether checking takes at most `MOST_STEPS`, whatever is in the schema.

    Where two parts of a schema look into the same object, what is in it is looked at twice, and what is in that four
    times: that grows with depth, and parts that name each other make much of little.
    """
    depth = _depth(value)
    if depth > DEEPEST:
        return False
    try:
        parts = list(_parts(schema, 0))
        counts = _Counts(schema)
        weight = max(counts.weight(part) for part in parts)
        fan = max(counts.fan(part) for part in parts)
    except (LookupError, RecursionError, ValueError, TypeError):
        return False
    return bool(len(parts) * weight * max(fan, 1) ** depth <= MOST_STEPS)


class _Counts:
    """How much the parts of one schema come to, each with the parts that it names for the same value."""

    def __init__(self, schema: Mapping[str, JSON]) -> None:
        self._schema = schema
        self._weights: dict[int, int | None] = {}
        self._fans: dict[int, int | None] = {}

    def weight(self, part: Any) -> int:
        """Parts that look at the same value. Raises ValueError where they lead in a circle."""
        return self._count(part, self._weights, lambda _: 1)

    def fan(self, part: Any) -> int:
        """Parts that look into the same value."""
        return self._count(part, self._fans, lambda one: int(any(word in one for word in _BELOW)))

    def _count(self, part: Any, known: dict[int, int | None], own: Callable[[Mapping[str, Any]], int]) -> int:
        if not isinstance(part, Mapping):
            return 0
        key = id(part)
        if key in known:
            if (count := known[key]) is None:
                raise ValueError("a circle")
            return count
        known[key] = None
        count = own(part) + sum(self._count(inner, known, own) for inner in self._in_place(part))
        known[key] = min(count, MOST_STEPS + 1)
        return count

    def _in_place(self, part: Mapping[str, Any]) -> Iterator[Any]:
        if any(isinstance(part.get(word), str) for word in _ELSEWHERE):  # else it is the name of a property
            raise ValueError("it may mean another part than it seems to")
        if "$ref" in part:
            yield self._named(part["$ref"])
        for word in _IN_PLACE:
            inner = part.get(word)
            if word == "dependentSchemas" and isinstance(inner, Mapping):
                yield from inner.values()
            elif isinstance(inner, list):
                yield from inner
            elif inner is not None:
                yield inner

    def _named(self, name: Any) -> Any:
        if not isinstance(name, str) or not name.startswith("#"):
            raise ValueError("it is elsewhere")
        part: Any = self._schema
        for step in name[1:].strip("/").split("/") if name.strip("#/") else ():
            step = step.replace("~1", "/").replace("~0", "~")
            part = part[int(step)] if isinstance(part, list) else part[step]
        return part


def _parts(value: Any, deep: int) -> Iterator[Any]:
    """Every object in a schema: each may be a part of it."""
    if deep > 2 * DEEPEST:
        raise ValueError("too deep")
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _parts(inner, deep + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _parts(inner, deep + 1)


def _depth(value: Any) -> int:
    deep, level = 0, [value]
    while level and deep <= DEEPEST:
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
            if isinstance(inner, dict | list)
        ]
        deep += 1
    return deep
