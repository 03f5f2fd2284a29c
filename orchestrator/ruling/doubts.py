"""What rules can be like, and are hardly meant to be: told as a warning, since what they name may come later."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice

from django.conf import settings

from orchestrator.catalogue import Catalogue
from orchestrator.core.documents import Fault
from orchestrator.core.limits import is_named
from orchestrator.modelhost.minilm import open_store
from orchestrator.modelhost.names import as_compared, as_listed
from orchestrator.registry.entries import Registry
from orchestrator.registry.reading import read_without_keys
from routing.rules.compiled import keeps_something
from routing.rules.document import Actions, Document, Rule
from routing.rules.expressions import names_in, texts_in

AUTO = "auto"
ONLY_LAST = "text is what was said last; conversation is that, every earlier turn, instructions and tools' results"
OWN = "expressions, `only` and `never` go by a model's own name"
IDLE = "nothing is done with the requests that it catches: name who is asked, or what else becomes of them"
Place = tuple[str | int, ...]
_OPEN = re.compile(r"[*?\[]")


def doubts_in(document: Document, models: Collection[str] | None) -> list[Fault]:
    """Rules that do nothing, models that are named and cannot be had, patterns that none fits, other names of models
    where only their own count, and what is kept here only if it is said last.

    Rules that are off are looked at as well.

    models  those that can be had; `openai/*` for whoever may have any. None: nobody knows.
    """
    return [*_idle(document), *_overheard(document), *_not_had(document, models), *_misnamed(document, models)]


def _idle(document: Document) -> Iterator[Fault]:
    """Rules that say when, and not what becomes of it."""
    for at, rule in enumerate(document.rules):
        if not any(getattr(rule.then, name) not in (None, False, "", []) for name in Actions.model_fields):
            yield Fault(("rules", at, "then"), IDLE)


def _overheard(document: Document) -> Iterator[Fault]:
    """Rules that keep something from somebody by what was said last: it was perhaps said in an earlier turn."""
    for at, rule in enumerate(document.rules):
        if not keeps_something(rule.then):
            continue
        for index, condition in enumerate(rule.when):
            if condition.fact == "text":
                yield Fault(("rules", at, "when", index, "fact"), ONLY_LAST)
        if "text" in names_in(rule.expression):
            yield Fault(("rules", at, "expression"), ONLY_LAST)


class There(frozenset[str]):
    """The models that can be had, by all their names; `means` says of each other name, folded, whose it is."""

    means: Mapping[str, str]

    @classmethod
    def of(cls, registry: Registry, models: Iterable[str]) -> There:
        """Those that are registered, whatever its providers may have, and `models`."""
        names = {name for entry in registry.models for name in (entry.name, *entry.aliases)}
        there = cls({*names, *(f"{one.name}/*" for one in registry.providers), *models})
        there.means = {as_compared(alias): entry.name for entry in registry.models for alias in entry.aliases}
        return there


def _misnamed(document: Document, models: Collection[str] | None) -> Iterator[Fault]:
    """Names in expressions that no model has as its own: none is ever called so there."""
    if not isinstance(models, There):
        return
    own = {as_compared(name): name for name in models if as_compared(name) not in models.means}
    for at, rule in enumerate(document.rules):
        if "model" not in names_in(rule.expression):
            continue
        for text in dict.fromkeys(texts_in(rule.expression)):
            means = models.means.get(as_compared(text)) or own.get(as_compared(as_listed(text)))
            if means and means.removesuffix(":latest") != text:
                yield Fault(("rules", at, "expression"), f"{text!r} is {means.removesuffix(':latest')!r}; {OWN}")


def had(models: Collection[str] | None) -> Callable[[str], bool]:
    """Whether a model that a rule names can be had; where nobody knows, each counts as if it can."""
    if models is None:
        return lambda _: True
    known = {as_compared(name) for name in models} | {AUTO}
    open_ended = tuple(name.removesuffix("*") for name in known if name.endswith("/*"))

    def is_there(name: str) -> bool:
        plain = as_compared(name)
        return plain in known or plain.startswith(open_ended)

    return is_there


def _not_had(document: Document, models: Collection[str] | None) -> list[Fault]:
    if models is None:
        return []
    means = models.means if isinstance(models, There) else {}
    known = {as_compared(name) for name in models} - means.keys()
    open_ended = tuple(name.removesuffix("*") for name in known if name.endswith("/*"))
    is_there, own, others = had(models), _Names(known), _Names(means)
    found = [
        Fault(place, f"there is no model {name!r} at the moment")
        for place, name in _named(document)
        if not is_there(name)
    ]
    for place, pattern in _patterns(document):
        may_come = pattern.lower().startswith(open_ended) or pattern.startswith("*")
        if may_come or own.first(pattern):
            continue
        alias = others.first(pattern)
        words = f"there is no model at the moment that {pattern!r} fits"
        found.append(Fault(place, f"{alias!r} is {means[alias]!r}; {OWN}" if alias else words))
    return found


class _Names:
    """Names of models, to be looked through for what fits a pattern: there may be thousands of either."""

    def __init__(self, names: Iterable[str]) -> None:
        """`names` are folded."""
        self._names = sorted(names)

    def first(self, pattern: str) -> str | None:
        """The first that fits, of those that begin as the pattern does before anything is left open in it."""
        plain = as_compared(pattern)
        begins = _OPEN.split(plain, maxsplit=1)[0]
        for name in islice(self._names, bisect_left(self._names, begins), None):
            if not name.startswith(begins):
                return None
            if is_named(name, plain):
                return name
        return None


async def models_there(catalogue: Catalogue) -> There:
    """The models that can be had, as a running process knows them."""
    models = await catalogue.models()
    return There.of(catalogue.registry, (model.name for model in models))


def models_here() -> There:
    """The same as a command knows them: what is registered and installed, and whatever providers may have."""
    try:
        installed = {str(model.name) for model in open_store(settings.MODELS_DIR).models()}
    except (ValueError, OSError):
        installed = set()
    return There.of(read_without_keys(), installed)


def models_in(document: Document) -> list[str]:
    """The models that rules name, each once, in their order."""
    return list(dict.fromkeys(name for _, name in _named(document) if name != AUTO))


def rules_naming(document: Document, names: Collection[str]) -> list[tuple[int, Rule]]:
    """The rules that are about a model by one of its names, or by a pattern it fits, each with its place from 1."""
    mine = {*map(as_compared, names)}
    return [
        (at, rule)
        for at, rule in enumerate(document.rules, 1)
        if any(is_named(name, as_compared(said)) for said in _said_by(rule) for name in mine)
    ]


def _said_by(rule: Rule) -> Iterator[str]:
    """Every model and pattern that stands in it."""
    for _, models in _lists(rule.then):
        yield from models
    yield from (*rule.then.only, *rule.then.never)
    if rule.then.shadow is not None:
        yield rule.then.shadow.model
    for one in rule.when:
        if one.fact == "model" and isinstance(one.value, list):
            yield from (str(value) for value in one.value)


def _named(document: Document) -> Iterator[tuple[Place, str]]:
    for at, rule in enumerate(document.rules):
        for place, names in _lists(rule.then):
            for index, name in enumerate(names):
                yield ("rules", at, "then", *place, index), name
        if rule.then.shadow is not None:
            yield ("rules", at, "then", "shadow", "model"), rule.then.shadow.model


def _lists(then: Actions) -> Iterator[tuple[Place, list[str]]]:
    yield ("use",), then.use
    if then.canary is not None:
        yield ("canary", "use"), then.canary.use
    if then.split is not None:
        for index, arm in enumerate(then.split.arms):
            yield ("split", "arms", index, "use"), arm.use


def _patterns(document: Document) -> Iterator[tuple[Place, str]]:
    for at, rule in enumerate(document.rules):
        for field in ("only", "never"):
            for index, pattern in enumerate(getattr(rule.then, field)):
                yield ("rules", at, "then", field, index), pattern
    for index, pattern in enumerate(document.auto.never):
        yield ("auto", "never", index), pattern
