"""What rules can be like, and are hardly meant to be: told as a warning, since what they name may come later."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from django.conf import settings

from orchestrator.catalogue import Catalogue
from orchestrator.core.documents import Fault
from orchestrator.core.limits import is_named
from orchestrator.modelhost.minilm import open_store
from orchestrator.registry.entries import Registry
from orchestrator.registry.reading import read_without_keys
from routing.rules.compiled import keeps_something
from routing.rules.document import Actions, Document, Rule
from routing.rules.expressions import names_in

AUTO = "auto"
ONLY_LAST = "text is what was said last; conversation is that, every earlier turn, instructions and tools' results"
IDLE = "nothing is done with the requests that it catches: name who is asked, or what else becomes of them"
Place = tuple[str | int, ...]


def doubts_in(document: Document, models: Collection[str] | None) -> list[Fault]:
    """Rules that do nothing, models that are named and cannot be had, patterns that none fits, and what is kept here
    only if it is said last.

    Rules that are off are looked at as well.

    models  those that can be had; `openai/*` for whoever may have any. None: nobody knows.
    """
    return [*_idle(document), *_overheard(document), *_not_had(document, models)]


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


def had(models: Collection[str] | None) -> Callable[[str], bool]:
    """Whether a model that a rule names can be had; where nobody knows, each counts as if it can."""
    if models is None:
        return lambda _: True
    known = {name.lower().removesuffix(":latest") for name in models} | {AUTO}
    open_ended = tuple(name.removesuffix("*") for name in known if name.endswith("/*"))

    def is_there(name: str) -> bool:
        plain = name.lower().removesuffix(":latest")
        return plain in known or plain.startswith(open_ended)

    return is_there


def _not_had(document: Document, models: Collection[str] | None) -> list[Fault]:
    if models is None:
        return []
    known = {name.lower().removesuffix(":latest") for name in models}
    open_ended = {name.removesuffix("*") for name in known if name.endswith("/*")}
    is_there = had(models)
    found = [
        Fault(place, f"there is no model {name!r} at the moment")
        for place, name in _named(document)
        if not is_there(name)
    ]
    for place, pattern in _patterns(document):
        may_come = pattern.lower().startswith(tuple(open_ended)) or pattern.startswith("*")
        if not may_come and not any(is_named(name, pattern) for name in known):
            found.append(Fault(place, f"there is no model at the moment that {pattern!r} fits"))
    return found


async def models_there(catalogue: Catalogue) -> frozenset[str]:
    """The models that can be had, as a running process knows them."""
    return _registered(catalogue.registry) | {model.name for model in await catalogue.models()}


def models_here() -> frozenset[str]:
    """The same as a command knows them: what is registered and installed, and whatever providers may have."""
    try:
        installed = {str(model.name) for model in open_store(settings.MODELS_DIR).models()}
    except (ValueError, OSError):
        installed = set()
    return _registered(read_without_keys()) | installed


def _registered(registry: Registry) -> frozenset[str]:
    names = {name for entry in registry.models for name in (entry.name, *entry.aliases)}
    return frozenset(names | {f"{one.name}/*" for one in registry.providers})


def models_in(document: Document) -> list[str]:
    """The models that rules name, each once, in their order."""
    return list(dict.fromkeys(name for _, name in _named(document) if name != AUTO))


def rules_naming(document: Document, names: Collection[str]) -> list[tuple[int, Rule]]:
    """The rules that are about a model by one of its names, or by a pattern it fits, each with its place from 1."""
    mine = {name.lower().removesuffix(":latest") for name in names}
    return [
        (at, rule)
        for at, rule in enumerate(document.rules, 1)
        if any(is_named(name, said.lower().removesuffix(":latest")) for said in _said_by(rule) for name in mine)
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
