"""Conditions of rules as functions of a request: what can be prepared is prepared once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from fnmatch import translate
from hashlib import blake2b
from operator import attrgetter
from zoneinfo import ZoneInfo

from orchestrator.modelhost.names import as_compared, as_listed
from routing.rules.asked import SCORES, Asked
from routing.rules.document import Condition, Hours
from routing.rules.expressions import DAYS
from routing.rules.facts import FACTS

Test = Callable[[Asked], bool]


def id_of(*parts: object) -> str:
    """What a condition about the text is known by in `Verdict.heard`: the same condition, the same id."""
    said = json.dumps(parts, ensure_ascii=True, sort_keys=True)
    return blake2b(said.encode(), digest_size=8).hexdigest()


def is_about_text(condition: Condition) -> bool:
    """Whether the text is needed for it."""
    return FACTS[condition.fact].kind == "text"


def test_of(condition: Condition, *, keeps: bool) -> Test:
    """Whether a condition holds. Raises where `checking` would have found a fault.

    keeps  its rule keeps something from somebody: one about a model is met by a place of the model as well.
    """
    kind, value = FACTS[condition.fact].kind, condition.value
    if kind == "time":
        assert isinstance(value, Hours)
        return _within(value)
    if kind == "flag":
        return _flag(condition.fact, value is True)
    if kind == "number":
        return _number(condition)
    assert isinstance(value, list)
    words = [str(word) for word in value]
    if kind == "text":
        return _contains(condition, words)
    if kind == "words":
        return _has(condition.op == "has", frozenset(map(str.lower, words)))
    if condition.fact == "model":
        return _model(condition.op == "is", words, reaches_places=keeps and condition.op == "is")
    return _named(condition.fact, condition.op == "is", words)


def folded(fact: str, word: str) -> frozenset[str]:
    """The names that a word of a condition stands for, in letters of one size.

    A model without `:latest`; and a local one as lists have it, too, however the condition has it.
    """
    if fact != "model":
        return frozenset({word.lower()})
    known = (word,) if "*" in word else (word, as_listed(word))
    return frozenset(map(as_compared, known))


def fits(fact: str, words: Iterable[str]) -> Callable[[str], bool]:
    """Whether a name, in letters of one size, is one of the words, or as one of the patterns among them."""
    names = frozenset[str]().union(*(folded(fact, word) for word in words))
    exact = frozenset(name for name in names if "*" not in name)
    patterns = [re.compile(translate(re.sub(r"[\[?]", r"[\g<0>]", name))) for name in sorted(names - exact)]
    return lambda name: name in exact or any(pattern.match(name) for pattern in patterns)


def _named(fact: str, wanted: bool, words: Sequence[str]) -> Test:
    is_one = fits(fact, words)
    is_analysed = FACTS[fact].is_analysed

    def test(asked: Asked) -> bool:
        name = asked.name(fact)
        if is_analysed and not name:
            asked.must_be_told(fact)
            return False
        return is_one(name) is wanted

    return test


def _model(wanted: bool, words: Sequence[str], *, reaches_places: bool) -> Test:
    is_one = fits("model", words)

    def test(asked: Asked) -> bool:
        return any(map(is_one, asked.models)) is wanted

    def place(asked: Asked) -> bool:
        return any(map(is_one, asked.models_and_places_of))

    return place if reaches_places else test


def _has(wanted: bool, words: frozenset[str]) -> Test:
    def test(asked: Asked) -> bool:
        return words.isdisjoint(asked.tags) is not wanted

    return test


def _flag(fact: str, wanted: bool) -> Test:
    def test(asked: Asked) -> bool:
        return getattr(asked.facts, fact) is wanted

    return test


def _number(condition: Condition) -> Test:
    fact, value = condition.fact, condition.value
    if condition.op == "between":
        assert isinstance(value, list)
        low, high = (float(bound) for bound in value)
    else:
        assert isinstance(value, float | int)
        low, high = (float(value), float("inf")) if condition.op == "at_least" else (float("-inf"), float(value))

    read = attrgetter(fact) if fact not in SCORES else None

    def scored(asked: Asked) -> bool:
        score = asked.facts.scores.get(fact)
        if score is None:
            asked.must_be_told(fact)
            return False
        return low <= score < high

    def counted(asked: Asked) -> bool:
        assert read is not None
        return bool(low <= read(asked.facts) < high)

    def left(asked: Asked) -> bool:
        asked.must_be_told(fact)
        return counted(asked)

    if fact == "budget_left":
        return left
    return scored if read is None else counted


def _contains(condition: Condition, words: Sequence[str]) -> Test:
    fact, wanted, id_ = condition.fact, condition.op == "contains", id_of(condition.fact, condition.op, words)
    phrases = tuple(word.casefold() for word in words)

    def test(asked: Asked) -> bool:
        return asked.hear(id_, fact, lambda text: any(phrase in text for phrase in phrases), wanted)

    return test


def _within(hours: Hours) -> Test:
    zone = ZoneInfo(hours.zone)
    since, until = _minutes(hours.since), _minutes(hours.until)
    days = frozenset(hours.days or DAYS)

    def test(asked: Asked) -> bool:
        now = asked.when(zone)
        if now is None:
            return False
        minute = now.hour * 60 + now.minute
        if since < until:
            return since <= minute < until and DAYS[now.weekday()] in days
        began = now if minute >= since else now - timedelta(days=1) if minute < until else None
        return began is not None and DAYS[began.weekday()] in days

    return test


def _minutes(time: str) -> int:
    hour, minute = time.split(":")
    return int(hour) * 60 + int(minute)
