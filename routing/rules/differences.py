"""What changed between two documents of rules, in lines that people read."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from routing.rules.document import Document, Rule
from routing.rules.sentences import sentence

LONGEST = 200  # characters of a value
_MISSING = "–"


def differences(before: Document, after: Document) -> list[str]:
    """One line for each rule that is gone, new or elsewhere, and for each field that is another; empty when none is."""
    old, new = ({rule.name: rule for rule in document.rules} for document in (before, after))
    return [
        *(f"rule {name}: removed" for name in old if name not in new),
        *_added_and_changed(old, new),
        *(f"rule {name}: moved from {old} to {new}" for name, (old, new) in moved(before, after).items()),
        *(f"auto: {line}" for line in _fields(_plain(before.auto), _plain(after.auto))),
    ]


def _added_and_changed(old: Mapping[str, Rule], new: Mapping[str, Rule]) -> Iterator[str]:
    for place, (name, rule) in enumerate(new.items(), 1):
        if name not in old:
            yield f"rule {name}: added as number {place}{'' if rule.is_on else ', off'}: {sentence(rule)}"
            continue
        before, after = _plain(old[name]), _plain(rule)
        if before.pop("is_on") != after.pop("is_on"):
            yield f"rule {name}: switched {'on' if rule.is_on else 'off'}"
        yield from (f"rule {name}: {line}" for line in _fields(before, after))


def moved(before: Document, after: Document) -> dict[str, tuple[int, int]]:
    """The rules that stand elsewhere, by name: from which place to which. As few as explain the new order."""
    places = {rule.name: place for place, rule in enumerate(before.rules, 1)}
    kept = [rule.name for rule in after.rules if rule.name in places]
    stayed = {kept[at] for at in _longest_rising([places[name] for name in kept])}  # the longest run that kept theirs
    return {
        rule.name: (places[rule.name], place)
        for place, rule in enumerate(after.rules, 1)
        if rule.name in places and rule.name not in stayed
    }


def _longest_rising(numbers: Sequence[int]) -> list[int]:
    """Where the longest rising sequence of them is.

    Source: patience sorting; of each length the run that ends lowest is kept.
    """
    lowest: list[int] = []  # the last number of the best run of each length, and where it is
    ends: list[int] = []
    previous: list[int] = []
    for at, number in enumerate(numbers):
        length = bisect_left(lowest, number)
        lowest[length : length + 1] = [number]
        ends[length : length + 1] = [at]
        previous.append(ends[length - 1] if length else -1)
    found: list[int] = []
    at = ends[-1] if ends else -1
    while at >= 0:
        found.append(at)
        at = previous[at]
    return found[::-1]


def _plain(part: Any) -> dict[str, Any]:
    """Its fields, those of what it holds by their path: `then.cache.read`."""
    value: dict[str, Any] = part.model_dump(mode="json")
    return dict(_flat(value, ""))


def _flat(value: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{path}{name}.")
        else:
            yield f"{path}{name}", inner


def _fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for field in {**before, **after}:
        old, new = before.get(field), after.get(field)
        if old != new:
            yield f"{field}: {_said(old)} → {_said(new)}"


def _said(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return _MISSING
    said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
