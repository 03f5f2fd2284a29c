"""Versions of the rules: published from the draft, kept, and gone back to. Requests go by the newest one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from orchestrator.audit import note
from orchestrator.core.changing import By
from orchestrator.core.documents import Fault, WrongDocument
from orchestrator.core.errors import Conflict, NotThere
from orchestrator.ruling import draft
from orchestrator.ruling.documents import EMPTY, must_fit
from orchestrator.ruling.doubts import doubts_in
from routing.models import RuleVersion
from routing.rules.checking import read_document
from routing.rules.differences import differences
from routing.rules.document import Document, plain

MOST_VERSIONS = 500
MOST_SAID = 20_000  # characters of what changed
AT_ONCE = 5  # that are read; the newest will do almost always


@dataclass(frozen=True, slots=True)
class Change:
    """What publishing did, or would do.

    version   the newest one afterwards.
    lines     what is another way than in the one before; empty: nothing is, and there is no new version.
    warnings  what can be so, and is hardly meant.
    lost      what the draft had that was not published, where it is not there any more.
    """

    version: int
    lines: tuple[str, ...] = ()
    warnings: tuple[Fault, ...] = ()
    lost: tuple[str, ...] = ()


def live() -> tuple[int, Document]:
    """What requests go by, and its number; 0 before anything was published.

    Raises WrongDocument where a later release wrote it, and this one cannot read it.
    """
    row = RuleVersion.objects.first()
    return (row.number, read_document(row.document)) if row else (0, EMPTY)


def live_if_read() -> Document | None:
    """The same rules; None where they cannot be read."""
    try:
        return live()[1]
    except WrongDocument:
        return None


def document_if_read(number: int) -> Document | None:
    """The rules of a version; None where it is not kept any more, or cannot be read."""
    try:
        return read_document(version(number).document) if number else EMPTY
    except (NotThere, WrongDocument):
        return None


def newest() -> int:
    """The number of the newest version; 0 where there is none."""
    return RuleVersion.objects.values_list("number", flat=True).first() or 0


def newest_first() -> Iterator[RuleVersion]:
    """Every version that is kept."""
    return RuleVersion.objects.iterator(chunk_size=AT_ONCE)


def version(number: int) -> RuleVersion:
    """A version that is kept. Raises NotThere."""
    row = RuleVersion.objects.filter(number=number).first()
    if row is None:
        raise NotThere(f"There is no version {number} of the rules: {_why_not(number)}.")
    return row


def _why_not(number: int) -> str:
    last = newest()
    if not last:
        return "none was published"
    if 1 <= number <= last:
        return f"the newest {MOST_VERSIONS} are kept"
    return f"the newest is {last}" if number > last else f"they are counted from 1, and the newest is {last}"


def versions(before: int | None = None) -> QuerySet[RuleVersion]:
    """Those that are kept, newest first, without their documents."""
    rows = RuleVersion.objects.defer("document")
    return rows if before is None else rows.filter(number__lt=before)


def trial(*, models: Collection[str] | None = None) -> Change:
    """What publishing the draft would do. Raises WrongDocument with all that is wrong with it.

    models  those that can be had, as far as is known here.
    """
    return try_document(draft.read().document, models=models)


def try_document(document: Document, *, models: Collection[str] | None = None) -> Change:
    """What publishing a document would do. Raises WrongDocument with all that is wrong with it."""
    must_fit(document)
    row = RuleVersion.objects.first()
    return Change(row.number if row else 0, _since(row, document), tuple(doubts_in(document, models)))


def publish(by: By, *, expected: int | None = None, models: Collection[str] | None = None) -> Change:
    """Make the draft be what requests go by.

    expected  the edition of the draft that is meant: when there is another one by now, nothing is done.
    Raises WrongDocument, Conflict.
    """
    view = draft.read()
    draft.must_be(expected, view.edition)
    must_fit(view.document)
    warnings = tuple(doubts_in(view.document, models))
    with transaction.atomic():
        return _publish(view.document, by, view.edition, warnings)


def publish_document(
    document: Document, by: By, *, expected: int | None = None, models: Collection[str] | None = None
) -> Change:
    """Make a document be the draft and what requests go by. What the draft had is told.

    expected  the edition of the draft that it takes the place of.
    Raises WrongDocument, Conflict.
    """
    must_fit(document)
    warnings = tuple(doubts_in(document, models))
    with transaction.atomic():
        if document.version is not None and document.version != newest():
            raise Conflict(f"The newest version is {newest()} by now, not {document.version}; read it again.")
        return _publish(document, by, expected, warnings)


def restore(number: int, by: By, *, expected: int | None = None) -> Change:
    """Make the rules be as they were in a version: those that requests go by, and the draft.

    Raises NotThere, WrongDocument where that version could not be published any more, Conflict.
    """
    again = By(by.name, by.reason or f"version {number} again", by.actor, by.request_id, by.must_still)
    return publish_document(read_document(version(number).document), again, expected=expected)


def try_restore(number: int) -> Change:
    """What `restore` would do. Raises what it raises."""
    document = read_document(version(number).document)
    change = try_document(document)
    return Change(change.version, change.lines, change.warnings, lost_to(document))


def discard(by: By, *, expected: int | None = None) -> draft.DraftView:
    """Make the draft be as what requests go by. Raises Conflict, and WrongDocument where that cannot be read."""
    with transaction.atomic():
        number, document = live()
        lost = lost_to(document)
        if lost:
            edition = draft.replace(document, number, expected, by.must_still, by.name)
            _note(by, "rules.discarded", f"edition {edition}", {"lost": lost[: draft.MOST_NOTED]})
    return draft.read()


def _publish(document: Document, by: By, expected: int | None, warnings: tuple[Fault, ...]) -> Change:
    """The same, while nobody else writes."""
    number = newest()
    lines = _lines(document)
    lost = lost_to(document)
    if not lines and not lost:
        by.must_still()
        return Change(number, (), warnings)
    row = RuleVersion(
        number=number + 1,
        at=timezone.now(),
        by=by.name[:255],
        reason=by.reason[:500],
        document=plain(document.model_copy(update={"version": None})),
        changes="\n".join(lines)[:MOST_SAID],
    )
    draft.replace(document, row.number if lines else number, expected, by.must_still, by.name)
    details: dict[str, Any] = {"reason": row.reason, "changes": lines[: draft.MOST_NOTED]}
    if lost:
        details["lost"] = lost[: draft.MOST_NOTED]
    if lines:
        row.save()
        RuleVersion.objects.filter(number__lte=row.number - MOST_VERSIONS).delete()
        _note(by, "rules.published", f"version {row.number}", details)
    else:
        _note(by, "rules.discarded", "the draft", details)
    return Change(row.number if lines else number, lines, warnings, lost)


def lost_to(document: Document) -> tuple[str, ...]:
    """What of the draft was not published, and would be gone with a document in its place."""
    try:
        before = draft.read().document
    except WrongDocument:
        return ("the draft, which this release cannot read",)
    if not differences(before, document):
        return ()
    return _lines(before)


def _lines(document: Document) -> tuple[str, ...]:
    """What is another way in it than in what requests go by."""
    return _since(RuleVersion.objects.first(), document)


def _since(row: RuleVersion | None, document: Document) -> tuple[str, ...]:
    try:
        before = read_document(row.document) if row else EMPTY
    except WrongDocument:
        return ("all of it: this release cannot read the version before", *differences(EMPTY, document))
    return tuple(differences(before, document))


def _note(by: By, action: str, subject: str, details: dict[str, Any]) -> None:
    note(by.actor or by.name, action, subject, None, details, by.request_id)
