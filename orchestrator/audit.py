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
from collections.abc import Iterator, Mapping
from datetime import UTC
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from orchestrator.models import AuditEvent, AuditHead

COLUMNS = ("id", "actor", "action", "subject", "tenant_id", "details", "request_id")  # what a digest covers, and `at`
LONGEST = {"actor": 160, "action": 64, "subject": 255, "request_id": 64}
LONGEST_DETAILS = 20_000  # characters of JSON
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
            newest = AuditEvent.objects.order_by("-id").first()
            head = AuditHead(event_id=newest.pk if newest else 0, digest="")
        event.pk = head.event_id + 1
        event.digest = _digest(event, head.digest)
        event.save(force_insert=True)
        head.event_id, head.digest = event.pk, event.digest
        head.seal = _seal(head)
        head.save()
    return event


def verify() -> Broken | None:
    """The first event that was changed, dropped or put elsewhere; None when all are as they were written.

    Nobody is held off meanwhile: events are only added, and never without the row that names the newest.
    """
    head = AuditHead.objects.first()
    is_sealed = head is not None and hmac.compare_digest(head.seal, _seal(head))
    before, number = "", 0
    for pk in _numbers(head.event_id if head and is_sealed else None):
        number += 1
        if pk != number:
            return Broken(number, f"it is gone; the next one there is number {pk}")
        event = _read(pk)
        if event is None or not hmac.compare_digest(event.digest, _digest(event, before)):
            return Broken(number, "it was changed, or put where another was")
        before = event.digest
    if head is None:
        return Broken(number, "the row that names the newest event is gone") if number else None
    if not is_sealed:
        return Broken(number, "the row that names the newest event was changed")
    if number < head.event_id:
        return Broken(number + 1, f"it is gone, and so is every one after it, up to number {head.event_id}")
    later = AuditEvent.objects.filter(pk__gt=number).order_by("pk").values_list("pk", flat=True).first()
    if later is not None and AuditHead.objects.get().event_id < later:
        return Broken(later, "it was not added by this product")
    return None


def _numbers(most: int | None) -> Iterator[int]:
    rows = AuditEvent.objects.order_by("pk").values_list("pk", flat=True)
    yield from (rows if most is None else rows.filter(pk__lte=most)).iterator()


def _read(pk: int) -> AuditEvent | None:
    """None when the row cannot be read any more: what is no time is read as none."""
    try:
        event = AuditEvent.objects.get(pk=pk)
    except (ValueError, TypeError, AuditEvent.DoesNotExist):
        return None
    return event if event.at else None


def _digest(event: AuditEvent, before: str) -> str:
    row = {column: getattr(event, column) for column in COLUMNS}
    row["at"] = event.at.astimezone(UTC).isoformat(timespec="microseconds")
    return _hash(json.dumps([before, row], sort_keys=True, separators=(",", ":")))


def _seal(head: AuditHead) -> str:
    return _hash(json.dumps(["head", head.event_id, head.digest], separators=(",", ":")))


def _hash(text: str) -> str:
    return hmac.new(settings.AUDIT_KEY, text.encode(), hashlib.sha256).hexdigest()


def _safe(text: str, column: str) -> str:
    return _without_credentials(text)[: LONGEST[column]]


def _details(details: Mapping[str, Any]) -> Any:
    """As JSON has them, so that they are read as they were hashed."""
    text = _without_credentials(json.dumps(dict(details), default=str))
    return json.loads(text) if len(text) <= LONGEST_DETAILS else {"cut": text[:LONGEST_DETAILS]}


def _without_credentials(text: str) -> str:
    """No event holds a key, whoever wrote it where."""
    return _CREDENTIAL.sub(r"\1…", text)
