"""What is done in the background: each task calls one function."""

import logging
import time

from celery import shared_task
from django.conf import settings

from cache import maintenance
from orchestrator.ledger import retention

log = logging.getLogger(__name__)


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
def expire_cache() -> None:
    """Delete cached answers that are no longer valid."""
    if gone := maintenance.expire(time.time()):
        log.info("deleted %d expired answers", gone)


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
def prune_records() -> None:
    """Delete request records that are older than they are to be kept."""
    if gone := retention.prune(settings.RECORD_DAYS):
        log.info("deleted %d old request records", gone)
