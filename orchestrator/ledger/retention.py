"""Old records and charges go, a few at a time."""

from datetime import UTC, datetime, time, timedelta

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from orchestrator.core.permissions import EVERYBODY
from orchestrator.ledger.rolled import read_marks
from orchestrator.models import (
    AnswerOutcome,
    Attempt,
    Charge,
    RequestRecord,
    RouteDecision,
    ShadowRun,
    UnreadGrades,
)

Table = type[AnswerOutcome] | type[Attempt] | type[Charge] | type[RequestRecord] | type[RouteDecision] | type[ShadowRun]
BATCH = 500  # in one transaction, while calls wait for their turn to be written


def prune(days: int, batch: int = BATCH) -> int:
    """Delete records older than `days` with all that is told of them, and return how many records.

    A transaction takes `batch` at most. A record that is in no rollup yet stays until it is: figures are to hold it
    when it is gone. So do its attempts: without them it would count as one that failed alone, beside them.
    """
    before = timezone.now() - timedelta(days=days)
    marks = read_marks()
    waiting = RequestRecord.objects.of(EVERYBODY).filter(pk__gt=marks.requests, request_id=OuterRef("request_id"))
    _prune(Attempt, before, batch, Q(~Exists(waiting), pk__lte=marks.attempts))
    _prune(RouteDecision, before, batch)
    _prune(AnswerOutcome, before, batch)  # learned from or not: without its decision nothing can be learned any more
    _prune(ShadowRun, before, batch)
    UnreadGrades.objects.of(EVERYBODY).filter(day__lt=before.date()).delete()  # a row a day of each judge
    return _prune(RequestRecord, before, batch, Q(pk__lte=marks.requests))


def prune_charges(days: int, batch: int = BATCH) -> int:
    """Delete charges older than `days`, by whole days, and return how many; the sums of each day stay."""
    day = (timezone.now() - timedelta(days=days)).date()
    return _prune(Charge, datetime.combine(day, time(), UTC), batch)


def _prune(table: Table, before: datetime, batch: int, which: Q | None = None) -> int:
    gone = 0
    rows = table.objects.of(EVERYBODY)
    old = rows.filter(which or Q(), at__lt=before)
    while ids := list(old.order_by("at").values_list("pk", flat=True)[:batch]):
        gone += rows.filter(pk__in=ids).delete()[0]
    return gone
