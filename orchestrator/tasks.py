"""What is done in the background: each task calls one function."""

import asyncio
import logging
import time

from celery import shared_task
from django.conf import settings

from cache import maintenance
from orchestrator.ledger import retention
from orchestrator.registry import reading as registry

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


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
def check_providers() -> None:
    """Look whether each provider answers."""
    # Here, because it brings every engine along, which a worker has no use for where there are no providers.
    if entries := registry.read().providers:
        from orchestrator.provider_checks import look, remember

        remember(asyncio.run(look(entries)))
