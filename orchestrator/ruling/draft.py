"""The draft of the rules: one for all who work on it. Nothing in it counts before it is published.

Its edition counts its changes. Who says which edition a change was made from changes nothing that they have not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from orchestrator.audit import note
from orchestrator.core.changing import By, of_one
from orchestrator.core.documents import Fault, WrongDocument
from orchestrator.core.errors import Conflict, NotThere
from orchestrator.ruling.documents import EMPTY, must_fit, rule_must_fit, with_rules
from routing.models import DraftState, RuleDraft
from routing.rules.checking import read_document
from routing.rules.differences import differences
from routing.rules.document import MOST_RULES, AutoPart, Document, Rule, plain

FIELDS = ("note", "is_on", "when", "expression", "then")
MOST_NOTED = 50  # lines of what changed that the audit has
MOST_SHOWN = 80  # characters of a name that is none


@dataclass(frozen=True, slots=True)
class Touched:
    """Who changed a rule last, and when."""

    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class DraftView:
    """The draft as it was at one moment.

    base     the version that it was made from, which is the newest one.
    edition  another number after each change.
    touched  who changed which rule last, by its name.
    """

    document: Document
    base: int
    edition: int
    touched: Mapping[str, Touched]


def read() -> DraftView:
    """The draft. Raises WrongDocument where a later release wrote it, and this one cannot read it."""
    states: list[DraftState] = []

    def newest() -> int:
        states.append(_state())
        return states[-1].edition

    edition, rows = of_one(newest, lambda _: list(RuleDraft.objects.all()))
    state = next(one for one in states if one.edition == edition)
    touched = {row.name: Touched(row.changed_by, row.changed_at) for row in rows}
    document = read_document({**_stored(state, rows), "version": state.base})
    return DraftView(document, state.base, edition, touched)


def save(document: Document, by: By, *, expected: int | None = None) -> DraftView:
    """Make the draft be as the document says, which has to be right.

    expected  the edition that it was made from: when there is another one by now, nothing is done.
    Raises WrongDocument, Conflict.
    """
    must_fit(document)
    return _change(document, by, expected, based_on=document.version)


def put_rule(name: str, rule: Rule, by: By, *, expected: int | None = None) -> DraftView:
    """Make one rule be so, which may give it another name. Raises NotThere, WrongDocument, Conflict."""
    return change_rule(name, dict(rule), by, expected=expected)


def change_rule(name: str, fields: Mapping[str, Any], by: By, *, expected: int | None = None) -> DraftView:
    """Make some fields of one rule be so, and leave the others. Raises NotThere, WrongDocument, Conflict."""

    def changed(before: Document) -> Document:
        at = _place_of(name, before)
        rule = before.rules[at].model_copy(update=fields)
        rule_must_fit(rule)
        _must_be_free(rule.name, with_rules(before, _without(at, before)))
        return with_rules(before, [*before.rules[:at], rule, *before.rules[at + 1 :]])

    return _change(changed, by, expected)


def add_rule(rule: Rule, by: By, *, place: int | None = None, expected: int | None = None) -> DraftView:
    """Add a rule, to be asked at a place from 1; None: as the last. Raises WrongDocument, Conflict."""
    rule_must_fit(rule)

    def added(before: Document) -> Document:
        _must_be_free(rule.name, before)
        return with_rules(before, _at(place, rule, before.rules))

    return _change(added, by, expected)


def delete_rule(name: str, by: By, *, expected: int | None = None) -> DraftView:
    """Take a rule away. Raises NotThere, Conflict."""
    return _change(lambda before: with_rules(before, _without(_place_of(name, before), before)), by, expected)


def move_rule(name: str, place: int, by: By, *, expected: int | None = None) -> DraftView:
    """Have a rule asked at another place, from 1; beyond the end it is the last. Raises NotThere, Conflict."""

    def moved(before: Document) -> Document:
        at = _place_of(name, before)
        return with_rules(before, _at(place, before.rules[at], _without(at, before)))

    return _change(moved, by, expected, touches=name)


def switch_rule(name: str, by: By, *, is_on: bool, expected: int | None = None) -> DraftView:
    """Switch a rule on or off. Raises NotThere, WrongDocument, Conflict."""
    return change_rule(name, {"is_on": is_on}, by, expected=expected)


def put_auto(auto: AutoPart, by: By, *, expected: int | None = None) -> DraftView:
    """Say how the router chooses. Raises WrongDocument, Conflict."""
    must_fit(EMPTY.model_copy(update={"auto": auto}))
    return _change(lambda before: before.model_copy(update={"auto": auto}), by, expected)


def replace(document: Document, base: int, expected: int | None, must_still: Callable[[], object], name: str) -> int:
    """Make the draft be so, within the transaction of whoever says so and notes it. Return its edition.

    Raises Conflict.
    """
    state = _state()
    must_be(expected, state.edition)
    must_still()
    state.base = base
    _write(state, list(RuleDraft.objects.all()), plain(document), name, "")
    return state.edition


def must_be(expected: int | None, edition: int) -> None:
    """Raises Conflict where the draft is not what a change was made from."""
    if expected is not None and expected != edition:
        raise Conflict(
            f"The draft was changed meanwhile: it is edition {edition} by now, not {expected}. "
            "Read it again, and change that."
        )


def _change(
    make: Callable[[Document], Document] | Document,
    by: By,
    expected: int | None,
    *,
    based_on: int | None = None,
    touches: str = "",
) -> DraftView:
    """Write what `make` makes of the draft, or is in its place, while nobody else writes."""
    with transaction.atomic():
        state, rows = _state(), list(RuleDraft.objects.all())
        must_be(expected, state.edition)
        if based_on is not None and based_on != state.base:
            raise Conflict(f"The newest version is {state.base} by now, not {based_on}; read the draft again.")
        stored = _stored(state, rows)
        before: Document | None
        if isinstance(make, Document):
            before, after = _if_read(stored), make
        else:
            before = read_document(stored)
            after = make(before)
        if before is None or plain(after.model_copy(update={"version": None})) != plain(before):
            if len(after.rules) > MOST_RULES:
                raise WrongDocument.of([Fault(("rules",), f"there are {MOST_RULES} rules at most")])
            by.must_still()
            _write(state, rows, plain(after), by.name, touches)
            details = {"reason": by.reason, "changes": list(differences(before or EMPTY, after))[:MOST_NOTED]}
            note(by.actor or by.name, "rules.drafted", f"edition {state.edition}", None, details, by.request_id)
    return read()


def read_edition() -> int:
    """How often it was changed, which may be read where the rest cannot."""
    return DraftState.objects.values_list("edition", flat=True).first() or 0


def _state() -> DraftState:
    return DraftState.objects.first() or DraftState(pk=1)


def _stored(state: DraftState, rows: Sequence[RuleDraft]) -> dict[str, Any]:
    """The draft as JSON, as it is kept."""
    rules = [{"name": row.name, **{field: getattr(row, field) for field in FIELDS}} for row in rows]
    return {"rules": rules, "auto": state.auto}


def _if_read(stored: dict[str, Any]) -> Document | None:
    """The draft; None where this release cannot read it."""
    try:
        return read_document(stored)
    except WrongDocument:
        return None


def _write(state: DraftState, rows: Sequence[RuleDraft], after: dict[str, Any], name: str, touches: str) -> None:
    """Make the rows be so. Whoever changes one is named at it; to be pushed aside by another is no change."""
    known, now = {row.name: row for row in rows}, timezone.now()
    empty = RuleDraft()
    made: list[RuleDraft] = []
    changed: list[RuleDraft] = []
    for place, rule in enumerate(after.get("rules", []), start=1):
        row = known.pop(rule["name"], None)
        is_new, row = row is None, row or RuleDraft(name=rule["name"])
        values = {field: rule.get(field, getattr(empty, field)) for field in FIELDS}
        if is_new or rule["name"] == touches or values != {field: getattr(row, field) for field in FIELDS}:
            row.changed_by, row.changed_at = name[:255], now
        elif row.place == place:
            continue
        row.place = place
        for field, value in values.items():
            setattr(row, field, value)
        (made if is_new else changed).append(row)
    RuleDraft.objects.filter(pk__in=[row.pk for row in known.values()]).delete()
    RuleDraft.objects.bulk_update(changed, ["place", *FIELDS, "changed_by", "changed_at"], batch_size=50)
    RuleDraft.objects.bulk_create(made, batch_size=50)
    state.auto, state.edition = after.get("auto", {}), state.edition + 1
    state.save()


def _place_of(name: str, document: Document) -> int:
    for at, rule in enumerate(document.rules):
        if rule.name == name:
            return at
    raise NotThere(f"There is no rule {name[:MOST_SHOWN]!r} in the draft.")


def _must_be_free(name: str, document: Document) -> None:
    if any(rule.name.casefold() == name.casefold() for rule in document.rules):
        raise WrongDocument.of([Fault(("name",), f"there is a rule {name!r} already")])


def _without(at: int, document: Document) -> list[Rule]:
    return [*document.rules[:at], *document.rules[at + 1 :]]


def _at(place: int | None, rule: Rule, others: Sequence[Rule]) -> list[Rule]:
    at = len(others) if place is None else max(place - 1, 0)
    return [*others[:at], rule, *others[at:]]
