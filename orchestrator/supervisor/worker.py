"""The Celery worker and its clock in one process: `python -m orchestrator.supervisor.worker`.

Celery's own `--beat` forks a process for the clock, which is no good once threads run; here it is
a thread. The worker's pool is threads, too: tasks wait for databases, they do not compute.

Neither is noticed when it hangs: a sign of life goes to the supervisor for as long as what is due is put
into the queue and taken out of it.
"""

import faulthandler
import logging
import os
import signal
import threading
import time
import warnings
from contextlib import closing
from typing import Any

import django
from celery import signals as told_by_celery
from celery.beat import EmbeddedService, Scheduler
from celery.platforms import SecurityWarning
from django.conf import settings

from cache.generation import Generation
from orchestrator.celery import LONG_AGO, app
from orchestrator.core.heart import Heart
from orchestrator.supervisor.liveness import Liveness

THREADS = 2
CHANGE_EVERY_S = 0.5
BEAT_EVERY_S = 1.0
STEP_S = 5.0  # a clock that is set right all the time is set by less

log = logging.getLogger(__name__)


class Clock(Scheduler):  # type: ignore[misc]  # Celery has no types
    """Celery's own, in memory: the schedule has nothing that must be remembered.

    Celery's file is a pickle, and with pysqlite3 in sqlite3's place it cannot be opened from Python 3.13 on.
    """

    liveness = Liveness()

    def __init__(self, *args: Any, **options: Any) -> None:
        self._ahead = _ahead()
        super().__init__(*args, **options)

    def tick(self, *args: Any, **options: Any) -> float:
        """Called by Celery whenever something may be due; how long it may sleep, in seconds."""
        self.liveness.tick()
        ahead = _ahead()
        if ahead < self._ahead - STEP_S:  # the time was set back, and nothing would be due until it is as late again
            log.warning("the time was set back by %.0f s; what is due is looked at anew", self._ahead - ahead)
            for entry in self.schedule.values():
                entry.last_run_at = LONG_AGO
            self._heap = None
        self._ahead = ahead
        return float(super().tick(*args, **options))


def _ahead() -> float:
    """By how many seconds the time of day is ahead of a clock that nobody sets."""
    return time.time() - time.monotonic()


def main() -> None:
    """Work until SIGTERM; then finish what has begun."""
    faulthandler.enable()  # one that hangs is ended with SIGABRT, which shows where it hung
    threading.excepthook = _end_without_clock
    os.environ["CELERY_SKIP_CHECKS"] = "1"  # `serve` has checked; Celery's checks would load every page
    warnings.filterwarnings("ignore", category=SecurityWarning)  # nor need it tell root what `serve` told
    django.setup()
    logging.getLogger("celery").setLevel(logging.WARNING)  # it tells each time something is due
    clock = EmbeddedService(app, thread=True, scheduler_cls=Clock)
    clock.start()
    over, ready = threading.Event(), threading.Event()
    watch = threading.Thread(target=_look_when_changed, args=(over,), name="changes", daemon=True)
    if settings.PROVIDER_CHECK_S:
        watch.start()
    _tell(Clock.liveness, ready)
    threading.Thread(target=_beat, args=(ready, over, Clock.liveness), name="pulse", daemon=True).start()
    worker = app.Worker(
        pool="threads",
        concurrency=THREADS,
        hostname="worker@orchestrator",
        quiet=True,
        loglevel="WARNING",
        redirect_stdouts=False,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    try:
        worker.start()
    finally:
        over.set()
        clock.service.stop()  # and it is not waited for: it only puts into the queue what is due
    raise SystemExit(worker.exitcode)


def _look_when_changed(over: threading.Event) -> None:
    """Have providers looked at as soon as an operator changes them on this machine, and not when they are due."""
    with closing(Generation(settings.GENERATION_FILE)) as generation:
        seen = generation.policy()
        while not over.wait(CHANGE_EVERY_S):
            if (now := generation.policy()) != seen:
                app.send_task("orchestrator.tasks.check_changed_providers", expires=settings.PROVIDER_CHECK_S)
                seen = now


def _beat(ready: threading.Event, over: threading.Event, liveness: Liveness) -> None:
    """Give a sign of life each second, from when tasks are taken, for as long as the work is done."""
    heart = Heart()
    ready.wait()
    liveness.take()
    heart.beat()
    told = ""
    while not over.wait(BEAT_EVERY_S):
        ails = liveness.ails(_waiting())
        if not ails:
            heart.beat()
        elif not told:
            log.error("the worker does nothing: %s; unless that ends, it is started anew", ails)
        told = ails


def _tell(liveness: Liveness, ready: threading.Event) -> None:
    """Have Celery tell what it takes and does."""
    for signal_, told in (
        (told_by_celery.worker_ready, lambda **_: ready.set()),
        (told_by_celery.task_received, lambda **_: liveness.take()),
        (told_by_celery.task_revoked, lambda **_: liveness.take()),  # it was taken, but is of yesterday
        (told_by_celery.task_prerun, lambda task_id, **_: liveness.begin(task_id)),
        (told_by_celery.task_postrun, lambda task_id, **_: liveness.finish(task_id)),
    ):
        signal_.connect(told, weak=False)


def _waiting() -> int:
    """How many tasks are in the queue."""
    with app.connection_for_read() as connection:
        return int(connection.channel().queue_declare(app.conf.task_default_queue).message_count)


def _end_without_clock(failure: threading.ExceptHookArgs) -> None:
    """A thread failed, perhaps the clock, and without it nothing would ever be due. The supervisor starts anew."""
    threading.__excepthook__(failure)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
