"""Old records go, a few at a time."""

from datetime import datetime, timedelta

from django.utils import timezone

from orchestrator.core.permissions import EVERYBODY
from orchestrator.models import Attempt, RequestRecord


def prune(days: int, batch: int = 5000) -> int:
    """Delete records older than `days` and return how many; each transaction takes `batch` at most."""
    before = timezone.now() - timedelta(days=days)
    _prune(Attempt, before, batch)
    return _prune(RequestRecord, before, batch)


def _prune(table: type[Attempt] | type[RequestRecord], before: datetime, batch: int) -> int:
    gone = 0
    rows = table.objects.of(EVERYBODY)
    while ids := list(rows.filter(at__lt=before).order_by("at").values_list("pk", flat=True)[:batch]):
        gone += rows.filter(pk__in=ids).delete()[0]
    return gone
