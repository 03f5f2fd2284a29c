"""What belongs to one request.

Ids are the callers' own word, and many requests may share one. So what belongs to a record is found by its id and its
tenant, and is of the moment at which the record says that its request came.
"""

from __future__ import annotations

from datetime import timedelta

from django.db.models import QuerySet

from orchestrator.core.permissions import Reach
from orchestrator.models import Attempt, Charge, RequestRecord, RouteDecision

A_MOMENT = timedelta(seconds=5)


def whose(record: RequestRecord) -> Reach:
    """Its tenant's."""
    return Reach(frozenset({record.tenant_id}))


def tried_for(record: RequestRecord) -> QuerySet[Attempt]:
    """Who was asked for it and did not answer: an attempt is of when it was given up."""
    until = record.at + timedelta(microseconds=record.total_us) + A_MOMENT
    of_it = Attempt.objects.of(whose(record)).filter(request_id=record.request_id)
    return of_it.filter(at__gte=record.at, at__lte=until)


def charged_for(record: RequestRecord) -> QuerySet[Charge]:
    """What asking for it cost, and what judges and shadows did."""
    return Charge.objects.of(whose(record)).filter(request_id=record.request_id, at=record.at)


def decided_for(record: RequestRecord) -> QuerySet[RouteDecision]:
    """Why it went where it did."""
    return RouteDecision.objects.of(whose(record)).filter(request_id=record.request_id, at=record.at)
