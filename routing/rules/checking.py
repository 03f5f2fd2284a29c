"""What does not fit together in rules whose fields are right one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ValidationError

from orchestrator.core.documents import Fault, WrongDocument, fault_of
from routing.rules import expressions
from routing.rules.document import MOST_RULES, MOST_VALUES, Actions, AimPart, AutoPart, Condition, Document, Hours, Rule
from routing.rules.facts import FACTS, Kind

Place = tuple[str | int, ...]
OPS: dict[Kind, tuple[str, ...]] = {
    "name": ("is", "is_not"),
    "words": ("has", "has_not"),
    "flag": ("is",),
    "number": ("at_least", "below", "between"),
    "text": ("contains", "contains_not"),
    "time": ("within",),
}
CHOICES = {"dialect": ("ollama", "openai", "anthropic"), "format": ("text", "json", "schema")}
MOST_EXPRESSIONS = 200
VALUES = f"true or false, a number, two numbers, hours, or a list of up to {MOST_VALUES} words is wanted"
WORDS = f"a list of words is wanted, of 1 to {MOST_VALUES}"
NUMBERS = "two numbers are wanted: from, and below"
VALUES_OF: dict[Kind, str] = {
    "name": WORDS,
    "words": WORDS,
    "text": WORDS,
    "flag": "true or false is wanted",
    "number": "a number is wanted",
    "time": "hours are wanted, as days, since, until and zone",
}
FORMS = {  # of fields whose pattern says nothing to people
    "since": "a time of day is wanted, as 18:00",
    "until": "a time of day is wanted, as 18:00",
    "most_cost": 'dollars are wanted, as text: "0.05"',
}


def read_document(value: Any) -> Document:
    """The document that a JSON value is, which may have faults. Raises WrongDocument."""
    try:
        return Document.model_validate(value)
    except ValidationError as error:
        raise WrongDocument.of(faults_of_document(error, value)) from None


def faults_of_document(error: ValidationError, given: Any) -> list[Fault]:
    """What pydantic found in a document of rules, and what does not fit together in the rest of it."""
    found = faults_of(error, given)
    rules = given.get("rules") if isinstance(given, dict) else None
    rules = rules[:MOST_RULES] if isinstance(rules, list) else []
    found += _called_alike([str(rule.get("name", "")) if isinstance(rule, dict) else "" for rule in rules])
    of_rules: dict[int, list[Fault]] = {}
    for fault in found:
        of_rules.setdefault(_rule_at(fault), []).append(fault)
    for at, rule in enumerate(rules):
        found += _in_the_rest(rule, ("rules", at), of_rules.get(at, ()))
    if isinstance(given, dict) and not any(fault.place[:1] == ("auto",) for fault in found):
        found += _aim(AutoPart.model_validate(given.get("auto", {})).aim, ("auto", "aim"))
    return sorted(found, key=_rule_at)


def faults_of_rule(error: ValidationError, given: Any) -> list[Fault]:
    """The same for one rule; its places are those within it."""
    found = faults_of(error, given)
    return found + _in_the_rest(given, (), found)


def _in_the_rest(given: Any, place: Place, found: Sequence[Fault]) -> list[Fault]:
    """What does not fit together in those parts of a rule in whose form nothing was found."""
    if not isinstance(given, dict):
        return []
    depth = len(place)
    wrong = {fault.place[depth : depth + 1] for fault in found if fault.place[:depth] == place}
    kept = {name: value for name, value in given.items() if (name,) not in wrong and name in Rule.model_fields}
    rest = [] if ("when",) not in wrong else _in_conditions(given.get("when"), (*place, "when"))
    if ("then",) in wrong and isinstance(given.get("then"), dict):
        then = (*place, "then")
        bad = {
            fault.place[depth + 1]
            for fault in found
            if fault.place[: depth + 1] == then and len(fault.place) > depth + 1
        }
        kept["then"] = {name: value for name, value in given["then"].items() if name not in bad}
    try:
        return rest + faults_in_rule(Rule.model_validate({"name": "unnamed", **kept}), place)
    except ValidationError:  # what is there does not do without what is not
        return rest


def _in_conditions(given: Any, place: Place) -> list[Fault]:
    found: list[Fault] = []
    for at, one in enumerate(given if isinstance(given, list) else ()):
        try:
            found += _condition(Condition.model_validate(one), (*place, at))
        except ValidationError:
            continue  # its form is told of
    return found


def _rule_at(fault: Fault) -> int:
    """Faults of rules come in their order, and then all others."""
    at = fault.place[1] if fault.place[:1] == ("rules",) and len(fault.place) > 1 else None
    return at if isinstance(at, int) else MOST_RULES


def faults_of(error: ValidationError, given: Any) -> list[Fault]:
    """What pydantic found in what was given, one fault for each place."""
    found: dict[Place, Fault] = {}
    faults = [_in_form(fault_of(one), one) for one in error.errors(include_url=False, include_input=False)]
    of_hours = {_value_place(fault.place) for fault in faults if "Hours" in fault.place[:-1]}
    for fault in faults:
        if (value := _value_place(fault.place)) is None:
            found.setdefault(fault.place, fault)
        elif value not in of_hours:  # it was tried as each thing that a value can be
            found.setdefault(value, Fault(value, _value_words(given, value)))
        elif "Hours" in fault.place[:-1]:
            place = tuple(part for part in fault.place if part != "Hours")
            found.setdefault(place, Fault(place, fault.words))
    return list(found.values())


def _in_form(fault: Fault, error: Mapping[str, Any]) -> Fault:
    """The same, with an example where the field has one form only."""
    form = FORMS.get(str(fault.place[-1])) if fault.place and str(error["type"]).startswith("string_") else None
    return replace(fault, words=form) if form else fault


def _value_words(given: Any, place: Place) -> str:
    """What the fact of a condition is compared with; `place` is that of its value."""
    for part in place[:-1]:
        given = given[part]
    fact = FACTS.get(given["fact"]) if isinstance(given.get("fact"), str) else None
    if fact is None:
        return VALUES
    return NUMBERS if given.get("op") == "between" and fact.kind == "number" else VALUES_OF[fact.kind]


def _value_place(place: Place) -> Place | None:
    """The place of the condition's value that a place is within, if it is."""
    at = place.index("value") if "value" in place else 0
    return place[: at + 1] if at > 1 and place[at - 2] == "when" else None


def faults_in(document: Document) -> list[Fault]:
    """Everything that does not fit together."""
    found = _called_alike([rule.name for rule in document.rules])
    for at, rule in enumerate(document.rules):
        found += faults_in_rule(rule, ("rules", at))
    found.sort(key=_rule_at)
    written = [at for at, rule in enumerate(document.rules) if rule.expression.strip()]
    if len(written) > MOST_EXPRESSIONS:
        found.append(
            Fault(("rules", written[MOST_EXPRESSIONS], "expression"), f"there may be {MOST_EXPRESSIONS} expressions")
        )
    found += _aim(document.auto.aim, ("auto", "aim"))
    return found


def _called_alike(names: Sequence[str]) -> list[Fault]:
    firsts: dict[str, int] = {}
    found: list[Fault] = []
    for at, name in enumerate(names):
        first = firsts.setdefault(name.casefold(), at)
        if first != at and name:
            found.append(Fault(("rules", at, "name"), f"rules[{first}] is called so already"))
    return found


def faults_in_rule(rule: Rule, place: Place = ()) -> list[Fault]:
    """What does not fit together in one rule, which is at `place`."""
    found: list[Fault] = []
    if not rule.name.isprintable() or rule.name != rule.name.strip():
        found.append(Fault((*place, "name"), "a name has no space at its ends, and nothing that cannot be printed"))
    if rule.name in {".", ".."} or rule.name.endswith("/move"):
        found.append(Fault((*place, "name"), "a name is no . or .. and ends in no /move: no address leads there"))
    for at, condition in enumerate(rule.when):
        found += _condition(condition, (*place, "when", at))
    if rule.expression.strip():
        found += [Fault((*place, "expression"), words) for words in expressions.faults_in(rule.expression)]
    return found + list(_actions(rule.then, (*place, "then")))


def _condition(condition: Condition, place: Place) -> Iterator[Fault]:
    fact = FACTS.get(condition.fact)
    if fact is None:
        yield Fault((*place, "fact"), f"there is no such fact; there are {', '.join(FACTS)}")
        return
    if condition.op not in OPS[fact.kind]:
        yield Fault((*place, "op"), f"{condition.fact} takes {' or '.join(OPS[fact.kind])}")
        return
    if words := _wrong_value(condition, fact.kind):
        yield Fault((*place, "value"), words)
    elif isinstance(condition.value, Hours):
        yield from _hours(condition.value, (*place, "value"))
    elif condition.fact in CHOICES and isinstance(condition.value, list):
        for at, name in enumerate(condition.value):
            if "*" not in str(name) and str(name).lower() not in CHOICES[condition.fact]:
                yield Fault((*place, "value", at), f"it is {' or '.join(CHOICES[condition.fact])}")


def _wrong_value(condition: Condition, kind: Kind) -> str:
    """Why the value does not fit the fact and how it is compared; empty where it does."""
    value = condition.value
    if kind == "time":
        return "" if isinstance(value, Hours) else VALUES_OF[kind]
    if kind == "flag":
        return "" if isinstance(value, bool) else VALUES_OF[kind]
    if kind == "number":
        return _wrong_number(value, is_range=condition.op == "between")
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return WORDS
    return "" if all(str(one).strip() for one in value) else "a word has more than spaces"


def _wrong_number(value: Any, *, is_range: bool) -> str:
    numbers = value if is_range else [value]
    if not isinstance(numbers, list) or len(numbers) != 1 + is_range:
        return NUMBERS
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers):
        return NUMBERS if is_range else VALUES_OF["number"]
    if not all(math.isfinite(one) for one in numbers):
        return VALUES_OF["number"]
    return "the first number has to be below the second" if is_range and numbers[0] >= numbers[1] else ""


def _hours(hours: Hours, place: Place) -> Iterator[Fault]:
    try:
        ZoneInfo(hours.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield Fault((*place, "zone"), "there is no such time zone; one is written as Europe/Berlin")
    if hours.since == hours.until:
        yield Fault((*place, "until"), "it begins and ends at the same time; a whole day is 00:00 to 24:00")
    if len(set(hours.days)) < len(hours.days):
        yield Fault((*place, "days"), "a day is there twice")


def _actions(then: Actions, place: Place) -> Iterator[Fault]:
    said = [name for name in Actions.model_fields if getattr(then, name) not in (None, False, "", [])]
    if then.forbid:
        if not then.forbid.strip():
            yield Fault((*place, "forbid"), "say why")
        for other in (name for name in said if name not in {"forbid", "is_last"}):
            yield Fault((*place, other), "a request that is refused is not asked of anybody")
    who = [name for name in said if name in {"use", "split", "canary"}]
    for other in who[1:]:
        yield Fault((*place, other), f"{who[0]} says already who is asked")
    yield from _models(then, place)
    if then.aim is not None:
        yield from _aim(then.aim, (*place, "aim"))


def _models(then: Actions, place: Place) -> Iterator[Fault]:
    """Those that are asked, wherever one is named."""
    yield from _chain(then.use, (*place, "use"))
    arms = then.split.arms if then.split is not None else []
    for at, arm in enumerate(arms):
        if any(other.name == arm.name for other in arms[:at]):
            yield Fault((*place, "split", "arms", at, "name"), "another arm is called so")
        yield from _chain(arm.use, (*place, "split", "arms", at, "use"))
    if then.canary is not None:
        yield from _chain(then.canary.use, (*place, "canary", "use"))
    if then.shadow is not None:
        if then.shadow.model == "auto":
            yield Fault((*place, "shadow", "model"), "a model is wanted; auto is a choice among them")
        for fault in _chain([then.shadow.model], ()):
            yield Fault((*place, "shadow", "model"), fault.words)


def _chain(models: Sequence[str], place: Place) -> Iterator[Fault]:
    for at, model in enumerate(models):
        if "*" in model or model != model.strip() or not model.isprintable():
            yield Fault((*place, at), "a model is named in full: no *, and no space at its ends")
        elif model in models[:at]:
            yield Fault((*place, at), "it is there twice")


def _aim(aim: AimPart, place: Place) -> Iterator[Fault]:
    if (aim.share is None) == (aim.quality is None):
        yield Fault(place, "either share or quality is wanted")
