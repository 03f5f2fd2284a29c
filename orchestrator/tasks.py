"""What is done in the background: each task calls one function."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down
from django.conf import settings

from cache import maintenance
from orchestrator.budgeting import telling
from orchestrator.core.tasks import Stoppable
from orchestrator.ledger import folding, retention, tidying
from orchestrator.outcomes import learning
from orchestrator.registry import reading as registry
from orchestrator.registry.entries import ProviderEntry

log = logging.getLogger(__name__)

looks = Stoppable()
tells = Stoppable()
folder = folding.Folder()
FOLD_S = 2.0  # of every few seconds, until all is added up that was there before
SHRINK_S = 20.0
_looked_at: dict[str, ProviderEntry] = {}  # each as it was when this process last looked at it


def alone(work: Callable[[], None]) -> Callable[[], None]:
    """`work`, left out while this process is still at it: one that takes long leaves the other thread to the rest."""
    turn = threading.Lock()

    @wraps(work)
    def work_alone() -> None:
        if turn.acquire(blocking=False):
            try:
                work()
            finally:
                turn.release()

    return work_alone


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
@alone
def expire_cache() -> None:
    """Delete cached answers that are no longer valid."""
    if gone := maintenance.expire(time.time()):
        log.info("deleted %d expired answers", gone)


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
@alone
def prune_records() -> None:
    """Delete request records and charges that are older than they are to be kept."""
    if gone := retention.prune(settings.RECORD_DAYS):
        log.info("deleted %d old request records", gone)
    if gone := retention.prune_charges(settings.CHARGE_DAYS):
        log.info("deleted %d old charges", gone)


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
@alone
def fold_records() -> None:
    """Add new records to what pages read, for a while; the next turn goes on."""
    folder.fold(FOLD_S)


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
@alone
def tidy_ledger() -> None:
    """Delete rollups that are no longer kept, and give free pages back."""
    if gone := folding.prune(time.time()):
        log.info("deleted %d old rollups", gone)
    if pages := tidying.shrink(SHRINK_S):
        log.info("the ledger is %d pages smaller", pages)


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
@alone
def learn_outcomes() -> None:
    """Learn from what was said of answers since the last time."""
    if learned := learning.learn_due():
        log.info("the router learned from what was heard; outcomes: %d", learned)


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
@alone
def tell_alerts() -> None:
    """Tell of shares of budgets that were reached."""
    telling.tell_due(tells.run)


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
@alone
def check_providers() -> None:
    """Look whether each provider answers."""
    _look_at(registry.read().providers)


@shared_task  # type: ignore[untyped-decorator]  # Celery has no types
def check_changed_providers() -> None:
    """Look at those that are new or were changed since they were looked at, so that nobody waits for their turn."""
    _look_at([entry for entry in registry.read().providers if entry != _looked_at.get(entry.name)])


def _look_at(entries: Iterable[ProviderEntry]) -> None:
    entries = list(entries)
    if not entries:
        return
    # Here, because it brings every engine along, which a worker has no use for where there are no providers.
    from orchestrator.provider_checks import look, remember

    _looked_at.update((entry.name, entry) for entry in entries)
    seen = looks.run(look(entries))
    if seen is not None:
        remember(seen)


@worker_shutting_down.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _look_no_more(**_: Any) -> None:
    """Who hangs does not hold up the end. How a provider is, will be seen at the next start; alerts are told then."""
    looks.stop()
    tells.stop()
