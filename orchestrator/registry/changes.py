"""Every change of the registry, through one door: checked as a whole, written at once, kept as a version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from django.db import transaction

from orchestrator.core.addresses import origin_of
from orchestrator.core.errors import Conflict, NotThere
from orchestrator.registry.differences import differences
from orchestrator.registry.document import Document, ModelPart, ProviderPart, WrongDocument, read_document
from orchestrator.registry.models import RegistryVersion
from orchestrator.registry.reading import newest_version
from orchestrator.registry.rules import faults_in
from orchestrator.registry.seal import origin_of_sealed
from orchestrator.registry.settled import in_environment, place_of
from orchestrator.registry.stored import EMPTY, Stored, document_of, read_tables, settled, write_tables

ENVIRONMENT = "environment"  # who changes it at the start
MOST_VERSIONS = 500
MOST_SAID = 20_000  # characters of what changed
MOST_SHOWN = 255  # characters of a name that is none
Kind = Literal["providers", "models"]


@dataclass(frozen=True, slots=True)
class By:
    """Who changes it, and why."""

    name: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """What a change did, or would do."""

    version: int  # the newest one afterwards
    lines: tuple[str, ...] = ()  # what changed; empty: nothing did, and there is no new version


def apply(document: Document, by: By, *, expected: int | None = None) -> Change:
    """Make the registry be as the document says.

    expected  the version that it was made from: when there is a newer one by now, nothing is done.
    What the environment sets up and the document leaves out stays as it is.
    Raises WrongDocument, Conflict.
    """
    expected = document.version if expected is None else expected
    return _change(lambda before: _whole(document, before), by, expected)


def trial(document: Document) -> Change:
    """What `apply` would do. Raises what it raises."""
    before = read_tables()
    _expect(document.version)
    return Change(newest_version(), tuple(differences(before, _whole(document, before))))


def put_provider(name: str, part: ProviderPart, by: By, *, expected: int | None = None) -> Change:
    """Make one provider be so, which may be new. Raises WrongDocument, Conflict."""
    return _change(lambda before: _with("providers", name, part, before), by, expected)


def put_model(name: str, part: ModelPart, by: By, *, expected: int | None = None) -> Change:
    """Make one model be so, which may be new. Raises WrongDocument, Conflict."""
    return _change(lambda before: _with("models", name, part, before), by, expected)


def try_part(kind: Kind, name: str, part: ProviderPart | ModelPart) -> None:
    """Whether a provider or a model could be so. Raises WrongDocument."""
    _with(kind, name, part, read_tables())


def delete_provider(name: str, by: By, *, expected: int | None = None) -> Change:
    """Take a provider away. Raises NotThere, WrongDocument while a model is deployed there, Conflict."""
    if name in in_environment():
        raise Conflict(
            f"The environment sets up the provider {name}, so it would be back at once; switch it off instead."
        )
    return _change(lambda before: _without("providers", name, before), by, expected)


def delete_model(name: str, by: By, *, expected: int | None = None) -> Change:
    """Take a model away. Raises NotThere, Conflict."""
    return _change(lambda before: _without("models", name, before), by, expected)


def restore(number: int, by: By, *, expected: int | None = None) -> Change:
    """Make the registry be as it was in a version, keys too where their address is still the same.

    Raises NotThere, WrongDocument, Conflict.
    """
    kept = version(number).document
    reason = by.reason or f"version {number} again"
    return _change(lambda before: _as_it_was(kept, before), By(by.name, reason), expected)


def try_restore(number: int) -> Change:
    """What `restore` would do. Raises what it raises."""
    before = read_tables()
    return Change(newest_version(), tuple(differences(before, _as_it_was(version(number).document, before))))


def version(number: int) -> RegistryVersion:
    """A version that is kept. Raises NotThere."""
    kept = RegistryVersion.objects.filter(number=number).first()
    if kept is None:
        raise NotThere(f"There is no version {number}; the newest {MOST_VERSIONS} are kept.")
    return kept


def ensure_environment() -> Change:
    """Make a row of each provider that the environment sets up and that has none."""
    return _change(_with_environment, By(ENVIRONMENT), None, is_from_environment=True)


def check(document: Document) -> None:
    """Whether a registry could be so that is empty now, but for the environment. Raises WrongDocument."""
    _whole(document, _with_environment(EMPTY))


def _change(
    make: Callable[[Stored], Stored], by: By, expected: int | None, *, is_from_environment: bool = False
) -> Change:
    """Write what `make` makes of what there is. One at a time: the transaction waits for its turn to write."""
    with transaction.atomic():
        _expect(expected)
        before = read_tables()
        after = make(before)
        lines = differences(before, after)
        if not lines:
            return Change(newest_version())
        write_tables(before, after, is_from_environment=is_from_environment)
        row = RegistryVersion.objects.create(
            by=by.name[:150], reason=by.reason[:200], summary="\n".join(lines)[:MOST_SAID], document=after
        )
        RegistryVersion.objects.filter(number__lte=row.number - MOST_VERSIONS).delete()
        return Change(row.number, tuple(lines))


def _expect(expected: int | None) -> None:
    newest = newest_version()
    if expected is not None and expected != newest:
        raise Conflict(f"The registry is at version {newest} by now, not {expected}; read it again, and change that.")


def _whole(document: Document, before: Stored) -> Stored:
    """What is stored when `document` takes the place of `before`. Raises WrongDocument."""
    kept = [name for name in in_environment() if name in before["providers"] and name not in document.providers]
    if kept:
        as_it_is = document_of({"providers": {name: before["providers"][name] for name in kept}, "models": {}})
        providers = document.providers | read_document(as_it_is).providers
        document = document.model_copy(update={"providers": providers})
    after, faults = settled(document, before)
    if faults := [*faults_in(document), *faults]:
        raise WrongDocument.of(faults)
    return after


def _with_environment(before: Stored) -> Stored:
    new = [name for name in in_environment() if name not in before["providers"]]
    rows = settled(read_document({"providers": {name: {"kind": name} for name in new}}), before)[0]
    return {**before, "providers": dict(sorted({**before["providers"], **rows["providers"]}.items()))}


def _with(kind: Kind, name: str, part: ProviderPart | ModelPart, before: Stored) -> Stored:
    read_document({kind: {name: {"kind": "compatible"} if kind == "providers" else {}}})  # can it be called so?
    document = read_document(document_of(before))
    getattr(document, kind)[name] = part
    return _whole(document, before)


def _without(kind: Kind, name: str, before: Stored) -> Stored:
    if name not in before[kind]:
        raise NotThere(f"There is no {kind.removesuffix('s')} {name[:MOST_SHOWN]!r} in the registry.")
    document = read_document(document_of(before))
    del getattr(document, kind)[name]
    return _whole(document, before)


def _as_it_was(kept: Stored, before: Stored) -> Stored:
    """What is stored when a version comes back: each key as it was, where it may be sent to the address still."""
    with_keys = dict(before["providers"])
    for name, was in kept["providers"].items():
        origin = origin_of(place_of(name, was["kind"], was["address"]).address)
        is_for_it = origin_of_sealed(was["sealed_key"]) == origin
        with_keys[name] = was | {"sealed_key": was["sealed_key"] if is_for_it else ""}
    return _whole(read_document(document_of(kept)), {**before, "providers": with_keys})
