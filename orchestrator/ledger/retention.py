"""Old records and charges go, a few at a time."""

from datetime import UTC, datetime, time, timedelta

from django.utils import timezone

from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import Attempt, Charge, RequestRecord

BATCH = 500  # in one transaction, while calls wait for their turn to be written


def prune(days: int, batch: int = BATCH) -> int:
    """Delete records older than `days` and return how many; each transaction takes `batch` at most."""
    before = timezone.now() - timedelta(days=days)
    _prune(Attempt, before, batch)
    return _prune(RequestRecord, before, batch)


def prune_charges(days: int, batch: int = BATCH) -> int:
    """Delete charges older than `days`, by whole days, and return how many; the sums of each day stay."""
    day = (timezone.now() - timedelta(days=days)).date()
    return _prune(Charge, datetime.combine(day, time(), UTC), batch)


def _prune(table: type[Attempt] | type[Charge] | type[RequestRecord], before: datetime, batch: int) -> int:
    gone = 0
    rows = table.objects.of(EVERYBODY)
    while ids := list(rows.filter(at__lt=before).order_by("at").values_list("pk", flat=True)[:batch]):
        gone += rows.filter(pk__in=ids).delete()[0]
    return gone
