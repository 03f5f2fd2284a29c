"""The Celery application: housekeeping in the background.

Its queue is in the memory of the worker, which is the only one that puts anything into it. Nothing that
must not be lost is queued here: a task only says that it is time to look at what this machine keeps.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from celery import Celery
from celery.signals import setup_logging
from django.conf import settings

QUEUE = "orchestrator.supervisor.queue:Transport"
POLL_S = 0.1

MINUTE_S, HOUR_S = 60.0, 3600.0
ALERTS_S = 10.0
LEARNING_S = 20.0
FOLDING_S = 3.0
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def every(seconds: float, task: str) -> dict[str, Any]:
    """Have `task` done at the start, and then every so many seconds.

    At the start, so that a product that never runs an hour on end is tidied, too. What is not picked
    up before the next one is due is dropped, so that nothing piles up while no worker runs.
    """
    return {"task": task, "schedule": seconds, "options": {"expires": seconds}, "last_run_at": LONG_AGO}


SCHEDULE = {
    "expire the cache": every(5 * MINUTE_S, "orchestrator.tasks.expire_cache"),
    "prune the records": every(HOUR_S, "orchestrator.tasks.prune_records"),
    "fold the records": every(FOLDING_S, "orchestrator.tasks.fold_records"),
    "tidy the ledger": every(HOUR_S, "orchestrator.tasks.tidy_ledger"),
    "learn outcomes": every(LEARNING_S, "orchestrator.tasks.learn_outcomes"),
    "tell alerts": every(ALERTS_S, "orchestrator.tasks.tell_alerts"),
}
if settings.PROVIDER_CHECK_S:
    SCHEDULE["check the providers"] = every(settings.PROVIDER_CHECK_S, "orchestrator.tasks.check_providers")


app = Celery("orchestrator", set_as_current=True)
app.conf.update(
    broker_url="memory://localhost",
    broker_transport=QUEUE,
    broker_transport_options={"polling_interval": POLL_S},
    broker_connection_retry_on_startup=True,
    include=["orchestrator.tasks"],
    accept_content=["json"],
    task_serializer="json",
    event_serializer="json",
    result_backend=None,
    task_ignore_result=True,
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    beat_schedule=SCHEDULE,
    enable_utc=True,
    timezone="UTC",
)


@setup_logging.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _keep_our_logging(**_: Any) -> None:
    """Having a receiver here keeps Celery from setting up logging; Django already did."""
