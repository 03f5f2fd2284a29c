"""Which rules a request can meet at all: found by the name, the tag or the flag that fewest others ask for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from routing.rules.asked import Asked
from routing.rules.conditions import folded
from routing.rules.document import Condition, Rule
from routing.rules.facts import ANALYSIS, FACTS

Named = tuple[str, str | bool]  # a fact, and a value of it


class Index:
    """The places of rules by one value that each of them wants; and of those that want none."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        choices = [[found for condition in rule.when if (found := _wanted(condition))] for rule in rules]
        often = Counter(named for wanted in choices for one in wanted for named in one)
        self._always: list[int] = []
        by_value: dict[Named, list[int]] = defaultdict(list)
        for place, wanted in enumerate(choices):
            if not wanted:
                self._always.append(place)
                continue
            for named in min(wanted, key=lambda one: sum(often[named] for named in one)):
                by_value[named].append(place)
        self._by_value = dict(by_value)
        # Where nobody analysed a request, any value may be its.
        self._analysed = sorted(
            place for (fact, _), those in by_value.items() if FACTS[fact].is_analysed for place in those
        )
        self._facts = tuple(sorted({fact for fact, _ in by_value if fact not in {"tags", "model"}}))
        self._has_models = any(fact == "model" for fact, _ in by_value)
        self._has_tags = any(fact == "tags" for fact, _ in by_value)

    def about(self, asked: Asked) -> Sequence[int]:
        """The places of all rules that the request may meet, in their order."""
        found: list[int] = []
        if self._has_models:
            for name in asked.models_and_places_of:
                found += self._by_value.get(("model", name), ())
        for fact in self._facts:
            value = getattr(asked.facts, fact) if FACTS[fact].kind == "flag" else asked.name(fact)
            found += self._by_value.get((fact, value), ())
        if self._analysed and ANALYSIS in asked.facts.untold:
            found += self._analysed
        if self._has_tags:
            for tag in asked.tags:
                found += self._by_value.get(("tags", tag), ())
        if not found:
            return self._always
        return sorted({*found, *self._always})


def _wanted(condition: Condition) -> frozenset[Named] | None:
    """The values of which a request has to have one for the condition to hold; None where that cannot be told."""
    fact, op, value = condition.fact, condition.op, condition.value
    kind = FACTS[fact].kind if fact in FACTS else None
    if kind == "flag" and isinstance(value, bool):
        return frozenset({(fact, value)})
    if (kind, op) not in {("name", "is"), ("words", "has")} or not isinstance(value, list):
        return None
    names = [str(name) for name in value]
    if kind == "name" and any("*" in name for name in names):
        return None
    return frozenset((fact, one) for name in names for one in folded(fact, name))
