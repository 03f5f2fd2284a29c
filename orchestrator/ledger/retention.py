"""Old records and charges go, a few at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from time import monotonic
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
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

BATCH = 500  # in one transaction, while calls wait for their turn to be written
WITHIN_S = 180.0


def prune(days: int, batch: int = BATCH, within_s: float = WITHIN_S) -> int:
    """Delete records older than `days` with all that is told of them, and return how many records.

    A transaction takes `batch` at most, and all of them about `within_s` seconds; what is left then is for the next
    time. A record that is in no rollup yet stays until it is: figures are to hold it when it is gone. So do its
    attempts: without them it would count as one that failed alone, beside them.
    """
    before = timezone.now() - timedelta(days=days)
    marks = read_marks()
    waiting = RequestRecord.objects.of(EVERYBODY).filter(pk__gt=marks.requests, request_id=OuterRef("request_id"))
    UnreadGrades.objects.of(EVERYBODY).filter(day__lt=before.date()).delete()  # a row a day of each judge
    tables = (
        RequestRecord.objects.of(EVERYBODY).filter(pk__lte=marks.requests),
        Attempt.objects.of(EVERYBODY).filter(~Exists(waiting), pk__lte=marks.attempts),
        RouteDecision.objects.of(EVERYBODY),
        AnswerOutcome.objects.of(EVERYBODY),  # learned from or not: without its decision nothing can be any more
        ShadowRun.objects.of(EVERYBODY),
    )
    return _prune(tables, before, batch, within_s)[0]


def prune_charges(days: int, batch: int = BATCH, within_s: float = WITHIN_S) -> int:
    """Delete charges older than `days`, by whole days, and return how many; the sums of each day stay.

    What is left after about `within_s` seconds is for the next time.
    """
    day = (timezone.now() - timedelta(days=days)).date()
    return _prune((Charge.objects.of(EVERYBODY),), datetime.combine(day, time(), UTC), batch, within_s)[0]


def _prune(tables: Sequence[QuerySet[Any]], before: datetime, batch: int, within_s: float) -> list[int]:
    """Delete the rows from before `before`, of each table in turn, and return how many of each."""
    gone, left, until = [0] * len(tables), set(range(len(tables))), monotonic() + within_s
    while left:
        for number in sorted(left):
            ids = list(tables[number].filter(at__lt=before).order_by("at").values_list("pk", flat=True)[:batch])
            if ids:
                gone[number] += tables[number].model.objects.of(EVERYBODY).filter(pk__in=ids).delete()[0]
            if len(ids) < batch:
                left.remove(number)
            if monotonic() >= until:
                return gone
    return gone
