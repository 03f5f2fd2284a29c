"""The Celery application: housekeeping in the background.

Its queue is in Redis; without one, in the memory of the worker, which is the only one that puts
anything into it. Nothing that must not be lost is queued here: a task only says that it is time to
look.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from celery import Celery
from celery.signals import setup_logging
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from orchestrator.core.redis_address import Sentinels, sentinels

KEY_PREFIX = "orchestrator:celery:"

MINUTE_S, HOUR_S = 60.0, 3600.0
ALERTS_S = 10.0
LEARNING_S = 20.0
FOLDING_S = 3.0
_WITHIN = {"socket_connect_timeout": 2, "socket_timeout": 5}  # seconds
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


def broker(redis: str) -> dict[str, Any]:
    """The settings of Celery's queue: in the Redis at the address `redis`, or in memory when that is empty."""
    if not redis:
        return {"broker_url": "memory://"}
    parts = urlsplit(redis)
    asked = sentinels(redis)
    return {
        "broker_url": _sentinel_urls(asked) if asked else _url(redis),
        "broker_transport_options": {
            **(
                {"master_name": asked.service, "sentinel_kwargs": {**_WITHIN, "retry": Retry(NoBackoff(), 0)}}
                if asked
                else {}
            ),
            **_WITHIN,
            "global_keyprefix": KEY_PREFIX,
            # Redis keeps no copy of what is under way: a task whose worker died is due again soon enough. And a copy
            # that cannot be crossed off while Redis is gone takes one of the worker's places, for good.
            "ack_emulation": False,
            "socket_keepalive": parts.scheme != "unix",
            "max_retries": 3,  # to publish; a dead Redis must not hold up whoever asks
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.5,
        },
    }


def _url(redis: str) -> str:
    """As Kombu writes it."""
    parts = urlsplit(redis)
    if parts.scheme != "unix":
        return redis
    account = f"{parts.username or ''}:{parts.password}@" if parts.password else ""
    return f"redis+socket://{account}{parts.path}?virtual_host=0"


def _sentinel_urls(asked: Sentinels) -> str:
    """As Kombu writes it: one address for each Sentinel, each with what is for Redis."""
    account = f"{quote(asked.username, safe='')}:{quote(asked.password, safe='')}@" if asked.password else ""
    hosts = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in asked.hosts]
    return ";".join(f"sentinel://{account}{host}/{asked.db}" for host in hosts)


app = Celery("orchestrator", set_as_current=True)
app.conf.update(
    broker(settings.REDIS_LOCATION),
    include=["orchestrator.tasks"],
    accept_content=["json"],
    task_serializer="json",
    event_serializer="json",
    result_backend=None,
    task_ignore_result=True,
    task_acks_late=True,
    task_publish_retry_policy={"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,  # threads cannot be cancelled
    worker_hijack_root_logger=False,
    broker_connection_timeout=2,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,  # the worker itself waits for Redis as long as it takes
    broker_pool_limit=4,
    beat_schedule=SCHEDULE,
    enable_utc=True,
    timezone="UTC",
)


@setup_logging.connect  # type: ignore[untyped-decorator]  # Celery has no types
def _keep_our_logging(**_: Any) -> None:
    """Having a receiver here keeps Celery from setting up logging; Django already did."""
