"""A request while rules are asked about it: what several of them need is worked out once, when the first needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

from orchestrator.modelhost.names import as_compared
from routing.rules.expressions import DAYS, Expression, Failed, activation_of
from routing.rules.facts import FACTS, TEXTS, Facts

SCORES = frozenset(name for name, fact in FACTS.items() if fact.kind == "number" and fact.is_analysed)


class Unheard(Exception):
    """Nobody can tell: the text was not kept, and what this came to was not written down; or nobody looked it up."""


class Unsure(Exception):
    """The conversation is longer than what was read of it, and what was read does not tell."""


class Asked:
    """One request. It is for one decision, and then thrown away."""

    __slots__ = ("_activation", "_models", "_names", "_places", "_told", "_when", "_words", "facts", "heard", "tags")

    def __init__(self, facts: Facts, heard: Mapping[str, bool | None] | None) -> None:
        self.facts = facts
        self.heard: dict[str, bool | None] = {}
        self.tags = {tag.lower() for tag in facts.tags}
        self._told = heard or {}
        self._names: dict[str, str] = {}
        self._models: tuple[str, ...] | None = None
        self._places: tuple[str, ...] | None = None
        self._words: dict[str, str] = {}
        self._when: dict[tzinfo, datetime | None] = {}
        self._activation: Any = None

    def name(self, fact: str) -> str:
        """A name in letters of one size."""
        found = self._names.get(fact)
        if found is None:
            found = self._names[fact] = str(getattr(self.facts, fact)).lower()
        return found

    @property
    def models(self) -> tuple[str, ...]:
        """Every name of the model that was asked for, its own first, in letters of one size and without `:latest`."""
        if self._models is None:
            self._models = tuple(map(as_compared, (self.facts.model, *self.facts.aliases)))
        return self._models

    @property
    def models_and_places_of(self) -> tuple[str, ...]:
        """The same, and then every name of the models that it is a place of."""
        if self._places is None:
            places_of = self.facts.places_of
            self._places = (*self.models, *map(as_compared, places_of)) if places_of else self.models
        return self._places

    def when(self, zone: tzinfo) -> datetime | None:
        """The time there; None where it is none."""
        if zone not in self._when:
            try:
                self._when[zone] = datetime.fromtimestamp(self.facts.at, zone)
            except (ValueError, OverflowError, OSError):
                self._when[zone] = None
        return self._when[zone]

    def must_be_told(self, *facts: str) -> None:
        """Raises Unheard where nobody looked one of them up."""
        if not all(map(self.facts.is_told, facts)):
            raise Unheard

    def hear(self, id_: str, fact: str, has: Callable[[str], bool], wanted: bool) -> bool:
        """Whether a text has something or, unless that is `wanted`, has not; it is noted. Raises Unheard and Unsure."""
        if id_ not in self.heard:
            text = getattr(self.facts, fact)
            if text is None:
                self.heard[id_] = self._was(id_)
            else:
                if fact not in self._words:
                    self._words[fact] = text.casefold()
                found = has(self._words[fact])
                self.heard[id_] = None if not found and self._is_cut(fact) else found is wanted
        answer = self.heard[id_]
        if answer is None and self._is_cut(fact):
            raise Unsure
        return bool(answer)

    def answer(self, expression: Expression, id_: str) -> bool:
        """What an expression says. Raises Failed; Unheard where it names what was not kept or looked up; and Unsure.

        One about a conversation that is cut is not asked: it may as well ask for what is not there.
        """
        if self.facts.untold:
            self.must_be_told(*expression.names)
        for name in expression.analysed:
            if not self._is_known(name):
                return False
        if not expression.texts:
            return expression.answer(self.activation)
        is_cut = any(map(self._is_cut, expression.texts))
        if id_ not in self.heard:
            if is_cut:
                self.heard[id_] = None
            elif any(getattr(self.facts, name) is None for name in expression.texts):
                self.heard[id_] = self._was(id_)
            else:
                try:
                    self.heard[id_] = expression.answer(self.activation)
                except Failed:
                    self.heard[id_] = None
        answer = self.heard[id_]
        if answer is None:
            raise Unsure if is_cut else Failed
        return answer

    def _is_cut(self, fact: str) -> bool:
        return self.facts.is_cut and fact == "conversation"

    def _was(self, id_: str) -> bool | None:
        try:
            return self._told[id_]
        except KeyError:
            raise Unheard from None

    def _is_known(self, name: str) -> bool:
        return name in self.facts.scores if name in SCORES else bool(getattr(self.facts, name))

    @property
    def activation(self) -> Any:
        """What expressions are answered from."""
        if self._activation is None:
            facts = self.facts
            now = self.when(UTC) or datetime.fromtimestamp(0, UTC)
            values = {name: getattr(facts, name) for name in FACTS if name not in SCORES and name != "time"}
            values |= {name: float(facts.scores.get(name, 0.0)) for name in SCORES}
            values |= {"tags": sorted(facts.tags), "time": now}
            values |= {name: getattr(facts, name) or "" for name in TEXTS}
            values |= {"hour": now.hour, "weekday": DAYS[now.weekday()]}
            values |= {"temperature": float(facts.temperature), "budget_left": float(facts.budget_left)}
            self._activation = activation_of(values)
        return self._activation
