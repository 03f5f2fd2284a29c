"""Every change of the registry, through one door: checked as a whole, written at once, kept as a version."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Literal

from django.db import transaction

from orchestrator.audit import note
from orchestrator.core.addresses import origin_of
from orchestrator.core.changing import By
from orchestrator.core.documents import Fault, WrongDocument
from orchestrator.core.errors import Conflict, NotThere
from orchestrator.registry.differences import differences
from orchestrator.registry.document import Document, ModelPart, ProviderPart, read_document
from orchestrator.registry.doubts import doubts_in
from orchestrator.registry.models import Provider, RegistryVersion
from orchestrator.registry.partly import Draft, beside
from orchestrator.registry.reading import newest_version, of_one_version
from orchestrator.registry.rules import faults_in
from orchestrator.registry.seal import origin_of_sealed
from orchestrator.registry.settled import in_environment, place_of
from orchestrator.registry.stored import EMPTY, Stored, document_of, read_tables, settled, write_tables

ENVIRONMENT = "environment"  # who changes it at the start
MOST_VERSIONS = 500
MOST_SAID = 20_000  # characters of what changed
MOST_NOTED = 50  # lines of what changed that the audit has; the version has them all
MOST_SHOWN = 255  # characters of a name that is none
MOST_TRIES = 3  # without holding off others
MOST_USERS = 5  # that are named
Kind = Literal["providers", "models"]


@dataclass(frozen=True, slots=True)
class Change:
    """What a change did, or would do."""

    version: int  # the newest one afterwards
    lines: tuple[str, ...] = ()  # what changed; empty: nothing did, and there is no new version
    warnings: tuple[Fault, ...] = ()  # what can be so, and is hardly meant
    removed: tuple[str, ...] = ()  # providers and models that are gone


def apply(document: Document, by: By, *, expected: int | None = None) -> Change:
    """Make the registry be as the document says. What it leaves out is removed.

    expected  the version that it was made from: when there is a newer one by now, nothing is done.
    What the environment sets up and the document leaves out stays as it is.
    Raises WrongDocument, Conflict.
    """
    expected = document.version if expected is None else expected
    return _change(lambda before: _whole(document, before, from_environment()), by, expected)


def trial(document: Document) -> Change:
    """What `apply` would do. Raises what it raises; of a draft WrongDocument with all that is wrong."""
    version, before = of_one_version(lambda _: read_tables())
    _expect(document.version, version)
    return _done(version, before, _whole(document, before, from_environment()))


def put_provider(name: str, part: ProviderPart, by: By, *, expected: int | None = None) -> Change:
    """Make one provider be so, which may be new. Raises WrongDocument, Conflict."""
    return _change(lambda before: _with("providers", name, part, before), by, expected, about=("providers", name))


def switch_provider(name: str, by: By, *, is_on: bool) -> Change:
    """Switch one provider on or off, whatever else of it was changed meanwhile. Raises NotThere, Conflict."""
    return _change(lambda before: _switched(name, before, is_on=is_on), by, None, about=("providers", name))


def put_model(name: str, part: ModelPart, by: By, *, expected: int | None = None) -> Change:
    """Make one model be so, which may be new. Raises WrongDocument, Conflict."""
    return _change(lambda before: _with("models", name, part, before), by, expected, about=("models", name))


def try_part(kind: Kind, name: str, part: ProviderPart | ModelPart) -> None:
    """Whether a provider or a model could be so. Raises WrongDocument."""
    _with(kind, name, part, read_tables())


def delete_provider(name: str, by: By, *, expected: int | None = None) -> Change:
    """Take a provider away. Raises NotThere, Conflict, that too while a model is deployed there."""
    if name in in_environment():
        raise Conflict(
            f"The environment sets up the provider {name}, so it would be back at once; switch it off instead."
        )
    return _change(lambda before: _without("providers", name, before), by, expected, about=("providers", name))


def delete_model(name: str, by: By, *, expected: int | None = None) -> Change:
    """Take a model away. Raises NotThere, Conflict, that too while another falls back to it."""
    return _change(lambda before: _without("models", name, before), by, expected, about=("models", name))


def users_of(kind: Kind, name: str, before: Stored | None = None) -> list[str]:
    """The models that could not do without a provider or a model, in the order of their names."""
    before = read_tables() if before is None else before
    if kind == "providers":
        return [
            model for model, one in before["models"].items() if name in {at["provider"] for at in one["deployments"]}
        ]
    if name not in before["models"]:
        return []
    known = set(doubts_in(before))
    after: Stored = {**before, "models": {other: one for other, one in before["models"].items() if other != name}}
    return list(dict.fromkeys(str(doubt.place[1]) for doubt in doubts_in(after) if doubt not in known))


def restore(number: int, by: By, *, expected: int | None = None) -> Change:
    """Make the registry be as it was in a version, keys too where their address is still the same.

    Raises NotThere, WrongDocument, Conflict.
    """
    kept = version(number).document
    reason = by.reason or f"version {number} again"
    return _change(lambda before: _as_it_was(kept, before), replace(by, reason=reason), expected)


def try_restore(number: int) -> Change:
    """What `restore` would do. Raises what it raises."""
    before = read_tables()
    return _done(newest_version(), before, _as_it_was(version(number).document, before))


def version(number: int) -> RegistryVersion:
    """A version that is kept. Raises NotThere."""
    kept = RegistryVersion.objects.filter(number=number).first()
    if kept is None:
        raise NotThere(f"There is no version {number}; the newest {MOST_VERSIONS} are kept.")
    return kept


def ensure_environment() -> Change:
    """Make a row of each provider that the environment sets up and that has none, and mark what it sets up.

    Whoever changes the registry elsewhere, in a shell of another environment, goes by the marks.
    """
    change = _change(_with_environment, By(ENVIRONMENT), None)
    for row in Provider.objects.all():
        if row.is_from_environment != (row.name in in_environment()):
            row.is_from_environment = not row.is_from_environment
            row.save(update_fields=["is_from_environment"])
    return change


def from_environment() -> set[str]:
    """The providers that the environment sets up: ours, or that in which the product was started last."""
    marked = Provider.objects.filter(is_from_environment=True).values_list("name", flat=True)
    return {*in_environment(), *marked}


def check(document: Document) -> None:
    """Whether a registry could be so that is empty now, but for the environment. Raises WrongDocument."""
    _whole(document, _with_environment(EMPTY), in_environment())


def _change(make: Callable[[Stored], Stored], by: By, expected: int | None, *, about: tuple[str, ...] = ()) -> Change:
    """Write what `make` makes of what there is.

    To make it takes seconds where there are thousands of models, and nobody could write anything meanwhile: so it is
    made first, and made again where another change came between. At last it has its turn all the same.
    """
    for _ in range(MOST_TRIES):
        done = _try(make, by, expected, about)
        if done is not None:
            return done
    with transaction.atomic():
        done = _try(make, by, expected, about)
    if done is None:
        raise Conflict("Others go on changing the registry; try again.")  # who writes alone is not interrupted
    return done


def _try(make: Callable[[Stored], Stored], by: By, expected: int | None, about: tuple[str, ...]) -> Change | None:
    """The same, unless another change comes between: then None, and nothing is done."""
    version, before = of_one_version(lambda _: read_tables())
    _expect(expected, version)
    after = make(before)
    change = _done(version, before, after, about)
    if not change.lines:
        return change
    row = RegistryVersion(
        by=by.name[:150], reason=by.reason[:200], summary="\n".join(change.lines)[:MOST_SAID], document=after
    )
    with transaction.atomic():
        if newest_version() != version:
            return None
        by.must_still()
        write_tables(before, after)
        row.save()
        told = {"reason": row.reason, "changes": list(change.lines[:MOST_NOTED])}
        note(by.actor or by.name, "registry.changed", f"version {row.number}", None, told, by.request_id)
        RegistryVersion.objects.filter(number__lte=row.number - MOST_VERSIONS).delete()
    return replace(change, version=row.number)


def _done(version: int, before: Stored, after: Stored, about: tuple[str, ...] = ()) -> Change:
    """What changes between the two. It warns of what it is about, and of what is new."""
    known = set(doubts_in(before)) if about else set()
    warnings = [one for one in doubts_in(after) if one.place[: len(about)] == about or one not in known]
    removed = [f"{kind[:-1]} {name}" for kind in before for name in before[kind] if name not in after[kind]]
    return Change(version, tuple(differences(before, after)), tuple(warnings), tuple(removed))


def _expect(expected: int | None, newest: int) -> None:
    if expected is not None and expected != newest:
        raise Conflict(f"The registry is at version {newest} by now, not {expected}; read it again, and change that.")


def _whole(document: Document, before: Stored, staying: Collection[str]) -> Stored:
    """What is stored when `document` takes the place of `before`. Raises WrongDocument.

    staying  providers that stay as they are when the document leaves them out.
    """
    left_out = {name: one for name, one in before["providers"].items() if name not in document.providers}
    if kept := {name: one for name, one in left_out.items() if name in staying}:
        providers = document.providers | read_document(document_of({"providers": kept, "models": {}})).providers
        document = document.model_copy(update={"providers": providers})
    after, faults = settled(document, before)
    known = document.faults if isinstance(document, Draft) else []
    if faults := beside(known, [*faults_in(document), *faults]):
        raise WrongDocument.of(faults)
    return after


def _with_environment(before: Stored) -> Stored:
    new = [name for name in in_environment() if name not in before["providers"]]
    rows = settled(read_document({"providers": {name: {"kind": name} for name in new}}), before)[0]
    return {**before, "providers": dict(sorted({**before["providers"], **rows["providers"]}.items()))}


def _with(kind: Kind, name: str, part: ProviderPart | ModelPart, before: Stored) -> Stored:
    read_document({kind: {name: {"kind": "compatible"} if kind == "providers" else {}}})  # can it be called so?
    document = _others(kind, name, before)
    getattr(document, kind)[name] = part
    return _whole(document, before, ())


def _switched(name: str, before: Stored, *, is_on: bool) -> Stored:
    if name not in before["providers"]:
        raise NotThere(f"There is no provider {name[:MOST_SHOWN]!r} in the registry.")
    return {**before, "providers": before["providers"] | {name: before["providers"][name] | {"is_enabled": is_on}}}


def _without(kind: Kind, name: str, before: Stored) -> Stored:
    if name not in before[kind]:
        raise NotThere(f"There is no {kind.removesuffix('s')} {name[:MOST_SHOWN]!r} in the registry.")
    if users := users_of(kind, name, before):
        more = f" and {len(users) - MOST_USERS} more" if len(users) > MOST_USERS else ""
        raise Conflict(f"{name} is used by {', '.join(users[:MOST_USERS])}{more}; change that first.")
    return _whole(_others(kind, name, before), before, ())


def _others(kind: Kind, name: str, before: Stored) -> Document:
    """All but one, which may be what is wrong."""
    rest = {other: value for other, value in before[kind].items() if other != name}
    return read_document(document_of({**before, kind: rest}))


def _as_it_was(kept: Stored, before: Stored) -> Stored:
    """What is stored when a version comes back: each key as it was, where it may be sent to the address still."""
    with_keys = dict(before["providers"])
    for name, was in kept["providers"].items():
        origin = origin_of(place_of(name, was["kind"], was["address"]).address)
        is_for_it = origin_of_sealed(was["sealed_key"]) == origin
        with_keys[name] = was | {"sealed_key": was["sealed_key"] if is_for_it else ""}
    return _whole(read_document(document_of(kept)), {**before, "providers": with_keys}, from_environment())
