"""Whether a value fits a JSON Schema that a stranger wrote: in bounded time, and without asking anybody."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from jsonschema_rs import RegexOptions, ValidationError, validator_for

from orchestrator.core.types import JSON

MOST_STEPS = 2_000_000  # that checking may come to at worst: some tenths of a second
MOST_TOLD = 100_000_000  # letters that are copied to say what is wrong, at worst: some tenths of a second
DEEPEST = 64
# In steps, of about 0.1 µs each, and in letters that take as long to copy.
_TO_READ_PART, _TO_READ_PATTERN, _LETTER = 200, 20_000, 10
_ERROR, _VALUE = 5000, 50
_LARGEST_PATTERN = 300_000  # bytes, read: one of a megabyte takes 0.3 ms for each letter
_IN_PLACE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies")
# Words for what is below, in groups of which one at most looks at the same value.
_OF_OBJECTS = (("properties", "additionalProperties"), ("unevaluatedProperties",), ("propertyNames",))
_OF_LISTS = (("items", "prefixItems", "additionalItems"), ("contains",), ("unevaluatedItems",))
_LOOKING_AGAIN = ("unevaluatedProperties", "unevaluatedItems")
_ELSEWHERE = ("$dynamicRef", "$recursiveRef", "$id", "id", "$anchor", "$dynamicAnchor")


class Form:
    """A schema that values are checked against: it is read once, and only if any is."""

    def __init__(self, schema: Mapping[str, JSON]) -> None:
        self._schema = schema
        self._cost = _cost_of(schema)
        self._validator: Any = None

    def wrong_with(self, value: JSON) -> str:
        """Which word of it does not hold, and how deep; empty where all do, or that takes too long to tell.

        It is kept with the record, so it says nothing of the value.
        """
        levels = _levels(value)
        if self._cost is None or levels is None or self._cost.steps(levels) > MOST_STEPS:
            return ""
        try:
            self._validator = self._validator or _read(self._schema)
        except ValueError:  # one that cannot be read asks for nothing that could be checked
            return ""
        if self._validator.is_valid(value):  # says no more, and so stops at what decides
            return ""
        if self._cost.errors(levels) * _copied(levels) > MOST_TOLD:
            return "it would take too long to tell where"
        try:
            self._validator.validate(value)
        except ValidationError as error:
            return f"`{error.kind.name}` does not hold, {len(error.instance_path)} deep"
        return ""


def _read(schema: Mapping[str, JSON]) -> Any:
    options = RegexOptions(size_limit=_LARGEST_PATTERN)
    return validator_for(dict(schema), retriever=_nowhere, pattern_options=options)


def _nowhere(address: str) -> NoReturn:
    raise ValueError(f"a schema cannot be had from {address[:100]}: nobody is asked for it")


@dataclass(slots=True)
class _Level:
    """What is in as many objects, and in as many lists: values, with the names of objects, and their letters."""

    objects: int
    lists: int
    values: int = 0
    letters: int = 0


def _copied(levels: Collection[_Level]) -> int:
    """Letters that an error is as long to write as, at worst: each has its part of the value with it."""
    return _ERROR + sum(_VALUE * one.values + one.letters for one in levels)


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a schema can come to, each at worst.

    to_read     steps.
    weight      steps for one value, in each part that looks at it.
    branched    parts that look at one value, where any may be in a branch: what is wrong in each of those is told; else
                only the first that is wrong.
    patterns    that look at one value.
    in_objects  parts that look at one value in an object.
    in_lists    in a list.
    """

    to_read: int
    weight: int
    branched: int
    patterns: int
    in_objects: int
    in_lists: int

    def steps(self, levels: Collection[_Level]) -> int:
        """What checking comes to, at worst."""
        each = ((one.values * self.weight + one.letters * self.patterns * _LETTER) * self._times(one) for one in levels)
        return self.to_read + sum(each)

    def errors(self, levels: Collection[_Level]) -> int:
        """How much may be told to be wrong, at worst."""
        return sum(one.values * self.branched * self._times(one) for one in levels)

    def _times(self, level: _Level) -> int:
        """How often one value is looked at.

        Where two parts of a schema look into the same object, what is in it is looked at twice, and what is in that
        four times: that grows with depth, and parts that name each other make much of little.
        """
        times: int = self.in_objects**level.objects * self.in_lists**level.lists
        return times


def _cost_of(schema: Mapping[str, JSON]) -> _Cost | None:
    """None where that is not certain, or it is not bounded."""
    try:
        parts = list(_parts(schema, 0))
        patterns = sum(map(_patterns, parts))
        to_read = len(parts) * _TO_READ_PART + patterns * _TO_READ_PATTERN
        if to_read > MOST_STEPS:
            return None
        counts = _Counts(schema)
        is_branched = any(word in part for part in parts for word in ("anyOf", "oneOf"))
        return _Cost(
            to_read=to_read,
            weight=max(counts.weight(part) for part in parts),
            branched=max(counts.looking(part) for part in parts) if is_branched else 0,
            patterns=max(counts.patterns(part) for part in parts),
            in_objects=max(1, *(counts.in_objects(part) for part in parts)),
            in_lists=max(1, *(counts.in_lists(part) for part in parts)),
        )
    except (LookupError, RecursionError, ValueError, TypeError):
        return None


def _patterns(part: Mapping[str, Any]) -> int:
    return isinstance(part.get("pattern"), str) + _length(part, "patternProperties")


def _looking_in_objects(part: Mapping[str, Any]) -> int:
    """How often a part, by itself, looks at one value in the object that it is for."""
    return sum(any(word in part for word in group) for group in _OF_OBJECTS) + _length(part, "patternProperties")


def _looking_in_lists(part: Mapping[str, Any]) -> int:
    """How often a part, by itself, looks at one value in the list that it is for."""
    return sum(any(word in part for word in group) for group in _OF_LISTS)


def _own_weight(part: Mapping[str, Any]) -> int:
    """Steps that a part takes by itself for one value."""
    compared = sum(_size(part[word]) for word in ("enum", "const", "dependentRequired", "dependencies") if word in part)
    listed = sum(_length(part, word) for word in ("required", "properties", "patternProperties", "dependentSchemas"))
    return 1 + compared + listed


def _length(part: Mapping[str, Any], word: str) -> int:
    said = part.get(word)
    return len(said) if isinstance(said, dict | list) else 0


class _Counts:
    """How much the parts of one schema come to, each with the parts that it names for the same value."""

    def __init__(self, schema: Mapping[str, JSON]) -> None:
        self._schema = schema
        self._weights: dict[int, int | None] = {}
        self._looking: dict[int, int | None] = {}
        self._of_patterns: dict[int, int | None] = {}
        self._in_objects: dict[int, int | None] = {}
        self._in_lists: dict[int, int | None] = {}

    def weight(self, part: Any) -> int:
        """Steps that it takes for one value. Raises ValueError where parts lead in a circle."""
        return self._count(part, self._weights, _own_weight)

    def looking(self, part: Any) -> int:
        """Parts that look at the same value."""
        return self._count(part, self._looking, lambda _: 1)

    def patterns(self, part: Any) -> int:
        """Patterns that look at the same value."""
        return self._count(part, self._of_patterns, _patterns)

    def in_objects(self, part: Any) -> int:
        """Parts that look at the same value in the object that it is for."""
        return self._count(part, self._in_objects, _looking_in_objects)

    def in_lists(self, part: Any) -> int:
        """Parts that look at the same value in the list that it is for."""
        return self._count(part, self._in_lists, _looking_in_lists)

    def _count(self, part: Any, known: dict[int, int | None], own: Callable[[Mapping[str, Any]], int]) -> int:
        if not isinstance(part, Mapping):
            return 0
        key = id(part)
        if key in known:
            if (count := known[key]) is None:
                raise ValueError("a circle")
            return count
        known[key] = None
        # To know what is left over, those beside are asked a second time, and those beside them: 2.6 times, each.
        times = 3 if any(word in part for word in _LOOKING_AGAIN) else 1
        count = own(part) + times * sum(self._count(inner, known, own) for inner in self._in_place(part))
        known[key] = min(count, MOST_STEPS + 1)
        return count

    def _in_place(self, part: Mapping[str, Any]) -> Iterator[Any]:
        if any(isinstance(part.get(word), str) for word in _ELSEWHERE):  # else it is the name of a property
            raise ValueError("it may mean another part than it seems to")
        if "$ref" in part:
            yield self._named(part["$ref"])
        for word in _IN_PLACE:
            inner = part.get(word)
            if word in {"dependentSchemas", "dependencies"} and isinstance(inner, Mapping):
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


def _size(value: Any) -> int:
    """How many values it is, with all that are in it."""
    count, level = 0, [value]
    while level:
        count += len(level)
        level = [inner for one in level for inner in _in(one)]
    return count


def _levels(value: JSON) -> Collection[_Level] | None:
    """What is how deep in it; None where it is deeper than `DEEPEST`."""
    levels: dict[tuple[int, int], _Level] = {}
    inside: list[tuple[Any, int, int]] = [(value, 0, 0)]
    while inside:
        one, objects, lists = inside.pop()
        if objects + lists > DEEPEST:
            return None
        level = levels.setdefault((objects, lists), _Level(objects, lists))
        level.values += 1
        if isinstance(one, str):
            level.letters += len(one)
        elif isinstance(one, dict):
            inside += ((inner, objects + 1, lists) for pair in one.items() for inner in pair)
        elif isinstance(one, list):
            inside += ((inner, objects, lists + 1) for inner in one)
    return levels.values()


def _in(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
