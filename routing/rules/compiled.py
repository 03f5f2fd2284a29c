"""Rules as they are asked: compiled once, and found by what they name, so that most are never looked at."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.modelhost.names import as_compared
from routing.rules.asked import Asked, Unheard, Unsure
from routing.rules.conditions import Test, fits, id_of, is_about_text, test_of
from routing.rules.document import Actions, Document, Rule
from routing.rules.expressions import Expression, Failed, names_in
from routing.rules.facts import Facts
from routing.rules.index import Index
from routing.rules.said import Said
from routing.rules.verdict import Verdict

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule: the tests that it has to pass, the cheap ones first, and then its expression."""

    rule: Rule
    place: int  # among the rules, from 1
    tests: tuple[Test, ...]

    def is_met(self, asked: Asked) -> bool:
        """Whether a request is as it says. Raises Failed, Unheard and Unsure."""
        unknown: Unheard | Unsure | None = None
        for test in self.tests:
            try:
                if not test(asked):
                    return False
            except (Unheard, Unsure) as error:  # another condition may still say that it is not
                unknown = unknown if isinstance(unknown, Unheard) else error
        if unknown is not None:
            raise unknown
        return True


class RuleSet:
    """All rules of one version. It is never changed, and any thread may ask it."""

    def __init__(self, document: Document, version: int) -> None:
        self.document, self.version = document, version
        self.rules = [compiled_rule(rule, place) for place, rule in enumerate(document.rules, 1) if rule.is_on]
        self._index = Index([one.rule for one in self.rules])
        self._told: set[str] = set()
        self.needs = _needs([one.rule for one in self.rules])
        self._is_model_named = fits("model", _models_in([one.rule for one in self.rules]))

    def decide(self, facts: Facts, *, heard: Mapping[str, bool | None] | None = None) -> Verdict:
        """What the rules say of a request. It never raises.

        heard  what an earlier decision heard in the text, where the text was not kept.
        """
        asked = Asked(facts, heard)
        said = Said(facts, self.version)
        for at in self._index.about(asked):
            one = self.rules[at]
            try:
                if not one.is_met(asked):
                    continue
            except Unsure:
                said.unread.append(one.rule.name)
                if not keeps_something(one.rule.then):
                    continue
            except Unheard:
                said.unheard.append(one.rule.name)
                continue
            except Exception as error:  # noqa: BLE001  # whatever a rule does, requests go on
                said.failed.append(one.rule.name)
                self._tell(one.rule.name, error)
                continue
            if said.add(one.rule, one.place):
                break
        return said.verdict(asked.heard)

    def names_model(self, name: str) -> bool:
        """Whether a condition names a model so, or by a pattern that fits."""
        return self._is_model_named(as_compared(name))

    def looks_at(self, facts: Facts) -> int:
        """How many rules are looked at for a request, if none ends it."""
        return len(self._index.about(Asked(facts, None)))

    def _tell(self, name: str, error: Exception) -> None:
        if name not in self._told:
            self._told.add(name)
            log.warning("rule %r of version %d could not be answered: %s", name, self.version, error or "no answer")


def compile_rules(document: Document, version: int = 0) -> RuleSet:
    """The rules, ready to be asked. A rule with faults counts as one that cannot be answered."""
    return RuleSet(document, version)


def compiled_rule(rule: Rule, place: int) -> Compiled:
    """One rule, ready to be asked."""
    try:
        when = sorted(rule.when, key=is_about_text)
        keeps = keeps_something(rule.then)
        tests = [test_of(condition, keeps=keeps) for condition in when]
        if rule.expression.strip():
            tests.append(_expression(rule.expression))
    except Exception as error:  # noqa: BLE001  # another release thought it right
        tests = [_broken(str(error))]
    return Compiled(rule, place, tuple(tests))


def _expression(source: str) -> Test:
    expression, id_ = Expression(source), id_of("expression", source)
    return lambda asked: asked.answer(expression, id_)


def _broken(why: str) -> Callable[[Any], bool]:
    def test(_: Any) -> bool:
        raise Failed(why)

    return test


def keeps_something(then: Actions) -> bool:
    """Whether it keeps something from somebody: such a rule counts as met where nobody can tell."""
    return bool(then.forbid or then.local_only or then.only or then.never or (then.cache and then.cache.write is False))


def _needs(rules: Sequence[Rule]) -> frozenset[str]:
    facts = {condition.fact for rule in rules for condition in rule.when}
    return frozenset(facts.union(*(names_in(rule.expression) for rule in rules)))


def _models_in(rules: Sequence[Rule]) -> Iterator[str]:
    """The names and patterns of models that conditions have."""
    for rule in rules:
        for condition in rule.when:
            if condition.fact == "model" and isinstance(condition.value, list):
                yield from map(str, condition.value)
