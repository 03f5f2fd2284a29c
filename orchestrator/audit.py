"""Who changed what: events that are added with what they tell of, and a chain that shows what was done to them since.

Each event's digest is a keyed hash of its row, its number and the digest before it. The newest one is also named
in a row of its own, sealed in the same way: otherwise nobody would miss what is cut off at the end. Whoever can
write the database but has not the master secret cannot add, change, drop or move an event without its showing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import AuditEvent, AuditHead

COLUMNS = ("id", "actor", "action", "subject", "tenant_id", "details", "request_id")  # what a digest covers, and `at`
LONGEST = {"actor": 160, "action": 64, "subject": 255, "request_id": 64}
BATCH = 2000  # events that are read at once
LAST = 2**63 - 1  # the highest number a row can have
LONGEST_DETAILS = 20_000  # characters of JSON
KINDS = (  # of things that something is done to: the first word of an action
    "key",
    "team",
    "tenant",
    "grant",
    "limit",
    "budget",
    "person",
    "registry",
    "model",
    "price",
    "rules",
    "router",
    "answer",
    "cache",
    "invoice",
    "machine",
)
_CREDENTIAL = re.compile(r"(orch_[a-z0-9]{10}_)[A-Za-z0-9_-]+")


class Broken(NamedTuple):
    """The first event that is not as it was written."""

    number: int
    words: str


def note(
    actor: str,
    action: str,
    subject: str,
    tenant: int | None = None,
    details: Mapping[str, Any] | None = None,
    request_id: str = "",
) -> AuditEvent:
    """Add an event, in the transaction of the change it tells of, or in one of its own.

    actor    who did it: `user:anna`, `key:` and its prefix, `command:anna`
    action   `key.issued`, `limit.changed` …
    tenant   whose matter it is, by number; None: of all of them

    Writers take turns from the begin of their transaction on, so each sees the digest before its own.
    """
    event = AuditEvent(
        at=timezone.now(),
        actor=_safe(actor, "actor"),
        action=_safe(action, "action"),
        subject=_safe(subject, "subject"),
        tenant_id=tenant,
        details=_details(details or {}),
        request_id=_safe(request_id, "request_id"),
    )
    with transaction.atomic():
        head = AuditHead.objects.first()
        if head is None:  # the first one; where events are there already, it does not fit them, and that shows
            newest = AuditEvent.objects.of(EVERYBODY).order_by("-id").first()
            head = AuditHead(event_id=newest.pk if newest else 0, digest="")
        key = _key_of(head, _keys())
        event.pk = head.event_id + 1
        event.digest = _digest(event, head.digest, key)
        event.save(force_insert=True)
        head.event_id, head.digest = event.pk, event.digest
        head.seal = _seal(head, key)
        head.save()
    return event


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What a change tells of itself: each field that is another now, as it was and as it is."""
    return {field: [before[field], now] for field, now in after.items() if now != before[field]}


def reseal(keys: Sequence[bytes]) -> tuple[int, Broken | None]:
    """Chain all events anew with the first of `keys`, when they are as they were written. Return how many.

    A chain that is broken stays as it is, for whoever looks into it; where it breaks is returned.
    """
    with transaction.atomic():
        head = AuditHead.objects.first()
        if head is None or _key_of(head, keys) == keys[0]:
            return 0, None
        if broken := verify(keys):
            return 0, broken
        before = ""
        for pk, event in _events(head.event_id):
            assert event is not None  # or it would not have held
            before = _digest(event, before, keys[0])
            AuditEvent.objects.of(EVERYBODY).filter(pk=pk).update(digest=before)
        head.digest = before
        head.seal = _seal(head, keys[0])
        head.save()
        return head.event_id, None


class Looked(NamedTuple):
    """How far the chain was looked at."""

    first: int  # number of the first event
    last: int  # of the last; one less than the first where there is none
    newest: int  # that there is
    broken: Broken | None = None  # the first that is not as it was written

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to look at."""
        return self.broken is not None or self.last >= self.newest


def verify(keys: Sequence[bytes] = ()) -> Broken | None:
    """The first event that was changed, dropped or put elsewhere; None when all are as they were written."""
    return look(keys).broken


def look(
    keys: Sequence[bytes] = (),
    *,
    after: int = 0,
    until: Callable[[], bool] = lambda: False,
    head: AuditHead | None = None,
) -> Looked:
    """Look at the events from the first one on, or after the one of that number, as it stands there now.

    until  asked now and then whether it is enough.
    head   the row that names the newest event, where it was read just now.

    All are chained with one key: the one of now, or until they are chained anew the one of before a rotation.
    Nobody is held off meanwhile: events are only added, and never without the row that names the newest.
    """
    head = head or AuditHead.objects.first()
    key = _key_of(head, keys or _keys())
    is_sealed = head is not None and hmac.compare_digest(head.seal, _seal(head, key))
    newest = head.event_id if head else 0

    def looked(number: int, broken: Broken | None = None) -> Looked:
        return Looked(after + 1, number, newest, broken)

    if after and head is not None and not is_sealed:
        return looked(after, Broken(after, "the row that names the newest event was changed"))
    before, number = _digest_there(after), after
    for pk, event in _events(head.event_id if head and is_sealed else LAST, after or -LAST):
        if number > after and number % BATCH == 0 and until():
            return looked(number)
        if pk <= number:
            return looked(number, Broken(pk, "it was not added by this product"))
        if pk != number + 1:
            return looked(number, Broken(number + 1, f"it is gone; the next one there is number {pk}"))
        if event is None or not event.at or not hmac.compare_digest(event.digest, _digest(event, before, key)):
            return looked(number, Broken(pk, "it was changed, or put where another was"))
        before, number = event.digest, pk
    return looked(number, _broken_end(head, number, is_sealed=is_sealed))


def _broken_end(head: AuditHead | None, number: int, *, is_sealed: bool) -> Broken | None:
    """What is wrong behind the last event, `number`, or with the row that names it."""
    if head is None:
        return Broken(number, "the row that names the newest event is gone") if number else None
    if not is_sealed:
        return Broken(number, "the row that names the newest event was changed")
    if number < head.event_id:
        return Broken(number + 1, f"it is gone, and so is every one after it, up to number {head.event_id}")
    later = AuditEvent.objects.of(EVERYBODY).filter(pk__gt=number).order_by("pk").values_list("pk", flat=True).first()
    if later is not None and AuditHead.objects.get().event_id < later:
        return Broken(later, "it was not added by this product")
    return None


def _digest_there(number: int) -> str:
    """What stands as the digest of an event; of one that is not there, nothing that fits the next."""
    if not number:
        return ""
    return AuditEvent.objects.of(EVERYBODY).filter(pk=number).values_list("digest", flat=True).first() or "gone"


def _events(most: int, after: int = -LAST) -> Iterator[tuple[int, AuditEvent | None]]:
    """Each with its number, after one and up to `most`; None in place of one that cannot be read any more."""
    is_more = True
    while is_more:
        rows = AuditEvent.objects.of(EVERYBODY).filter(pk__gt=after, pk__lte=most).order_by("pk")
        events: list[tuple[int, AuditEvent | None]]
        try:
            events = [(event.pk, event) for event in rows[:BATCH]]
        except (ValueError, TypeError):  # of one of them; which, is seen one by one
            events = [(pk, _read(pk)) for pk in rows.values_list("pk", flat=True)[:BATCH]]
        yield from events
        is_more = len(events) == BATCH
        after = events[-1][0] if events else after


def _read(pk: int) -> AuditEvent | None:
    try:
        return AuditEvent.objects.of(EVERYBODY).get(pk=pk)
    except (ValueError, TypeError, AuditEvent.DoesNotExist):
        return None


def _keys() -> Sequence[bytes]:
    return (settings.AUDIT_KEY, *settings.OLD_AUDIT_KEYS)


def _key_of(head: AuditHead | None, keys: Sequence[bytes]) -> bytes:
    """What the chain was made with that `head` ends; the first of `keys` where none fits, or nothing is there."""
    fitting = (key for key in keys if head and hmac.compare_digest(head.seal, _seal(head, key)))
    return next(fitting, keys[0])


def _digest(event: AuditEvent, before: str, key: bytes) -> str:
    row = {column: getattr(event, column) for column in COLUMNS}
    row["at"] = event.at.astimezone(UTC).isoformat(timespec="microseconds")
    return _hash(json.dumps([before, row], sort_keys=True, separators=(",", ":")), key)


def _seal(head: AuditHead, key: bytes) -> str:
    return _hash(json.dumps(["head", head.event_id, head.digest], separators=(",", ":")), key)


def _hash(text: str, key: bytes) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _safe(text: str, column: str) -> str:
    return _without_credentials(text)[: LONGEST[column]]


def _details(details: Mapping[str, Any]) -> Any:
    """As JSON has them, so that they are read as they were hashed."""
    text = _without_credentials(json.dumps(dict(details), default=str))
    return json.loads(text) if len(text) <= LONGEST_DETAILS else {"cut": text[:LONGEST_DETAILS]}


def _without_credentials(text: str) -> str:
    """No event holds a key, whoever wrote it where."""
    return _CREDENTIAL.sub(r"\1…", text)
