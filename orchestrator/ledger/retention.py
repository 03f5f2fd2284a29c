"""Old records go, a few at a time."""

from datetime import timedelta

from django.utils import timezone

from orchestrator.models import RequestRecord


def prune(days: int, batch: int = 5000) -> int:
    """Delete records older than `days` and return how many; each transaction takes `batch` at most."""
    before = timezone.now() - timedelta(days=days)
    gone = 0
    while ids := list(RequestRecord.objects.filter(at__lt=before).order_by("at").values_list("pk", flat=True)[:batch]):
        gone += RequestRecord.objects.filter(pk__in=ids).delete()[0]
    return gone
