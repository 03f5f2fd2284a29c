"""What is said of an answer, kept beside its record."""

from __future__ import annotations

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from orchestrator import audit
from orchestrator.core.errors import NotThere
from orchestrator.core.permissions import Reach
from orchestrator.models import AnswerOutcome, RequestRecord

LONGEST_NOTE = 500
LONGEST_BY = 255
MOST_SHOWN = 64  # characters of an id that is none
# A record names who was expected to answer before they do; who was left before a first piece had not begun.
_WHOLE = ("done", "cut")
_HEARD = Q(outcome__in=_WHOLE) | Q(outcome="cancelled", first_us__isnull=False)


def say(
    reach: Reach, request_id: str, good: float, *, by: str, note: str = "", kind: str = AnswerOutcome.Kind.FEEDBACK
) -> AnswerOutcome:
    """Keep what `by` says of the newest answer to that request. Who said something already says it anew.

    What says no other than before is not learned of once more.

    good  0 to 1.
    Raises NotThere where nobody in `reach` asked it, or nobody answered.
    """
    asked = answered(reach).filter(request_id=request_id)
    record = asked.order_by("-id").only("tenant_id", "model").first()
    if record is None:
        raise NotThere(
            f"There is no answer to a request {request_id[:MOST_SHOWN]!r}; a record is there a moment after."
        )
    rows = AnswerOutcome.objects.of(Reach(frozenset({record.tenant_id})))
    who = {"tenant_id": record.tenant_id, "request_id": request_id, "kind": kind, "by": by[:LONGEST_BY]}
    note = note[:LONGEST_NOTE]
    rows.filter(**who, model=record.model, good=good).update(note=note)
    said, is_new = rows.get_or_create(
        **who, defaults={"at": timezone.now(), "model": record.model, "good": good, "note": note}
    )
    if not is_new and (said.model, said.good) != (record.model, good):
        said.at, said.model, said.good, said.note = timezone.now(), record.model, good, note
        said.learned_in = None
        said.save()
    return said


def judge(record: RequestRecord, good: float, *, by: str, note: str = "") -> AnswerOutcome:
    """Keep what a person says of the answer to this very request, and that they said it.

    by  the person's name.
    Raises NotThere where a later request has its id, or nobody answered.
    """
    whose = Reach(frozenset({record.tenant_id}))
    newest = RequestRecord.objects.of(whose).filter(request_id=record.request_id).order_by("-pk").first()
    if newest is not None and newest.pk != record.pk:
        raise NotThere("A later request has the same id, and what is said would count for that one.")
    with transaction.atomic():
        kept = say(whose, record.request_id, good, by=f"user {by}", note=note)
        told = {"good": kept.good, "model": kept.model}
        audit.note(f"user:{by}", "answer.judged", record.request_id, record.tenant_id, told, record.request_id)
    return kept


def answered(reach: Reach) -> QuerySet[RequestRecord]:
    """Requests to which a model gave an answer, or as much of one as its caller listened to."""
    return RequestRecord.objects.of(reach).filter(_HEARD).exclude(model="")


def is_answered(record: RequestRecord) -> bool:
    """Whether it is one of those."""
    was_begun = record.outcome == "cancelled" and record.first_us is not None
    return bool(record.model) and (record.outcome in _WHOLE or was_begun)


def said_of(reach: Reach, request_id: str) -> list[AnswerOutcome]:
    """All that was said of it, the oldest first."""
    return list(AnswerOutcome.objects.of(reach).filter(request_id=request_id).order_by("id")[:100])
