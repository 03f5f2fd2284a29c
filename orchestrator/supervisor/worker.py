"""The Celery worker and its clock in one process: `python -m orchestrator.supervisor.worker`.

Celery's own `--beat` forks a process for the clock, which is no good once threads run; here it is
a thread. The worker's pool is threads, too: tasks wait for databases, they do not compute.

Left to itself each of the two looks only once a second whether it is to end.
"""

import faulthandler
import logging
import os
import signal
import socket
import threading
import warnings
from contextlib import closing
from typing import Any

import django
from celery import bootsteps
from celery.beat import EmbeddedService, Scheduler
from celery.platforms import SecurityWarning
from django.conf import settings
from kombu.exceptions import OperationalError

from cache.generation import Generation
from orchestrator.celery import app

THREADS = 2
CHANGE_EVERY_S = 0.5


class WakesAtSignals(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A signal wakes the loop that waits for Redis; it is set up anew with each connection."""

    requires = ("celery.worker.consumer:Connection",)
    heard, told = socket.socketpair()

    def start(self, parent: Any) -> None:
        """Called by Celery with the consumer, which has no such loop without Redis."""
        if parent.hub is not None:
            parent.hub.add_reader(self.heard, self.heard.recv, 4096)


def main() -> None:
    """Work until SIGTERM; then finish what has begun."""
    faulthandler.enable()
    threading.excepthook = _end_without_clock
    os.environ["CELERY_SKIP_CHECKS"] = "1"  # `serve` has checked; Celery's checks would load every page
    warnings.filterwarnings("ignore", category=SecurityWarning)  # nor need it tell root what `serve` told
    django.setup()
    logging.getLogger("celery").setLevel(logging.WARNING)  # it tells each time something is due
    # In memory: the schedule has nothing that must be remembered. Celery's file is a pickle, and
    # with pysqlite3 in sqlite3's place it cannot be opened from Python 3.13 on.
    clock = EmbeddedService(app, thread=True, scheduler_cls=Scheduler)
    clock.start()
    for end in (WakesAtSignals.heard, WakesAtSignals.told):
        end.setblocking(False)
    signal.set_wakeup_fd(WakesAtSignals.told.fileno(), warn_on_full_buffer=False)
    app.steps["consumer"].add(WakesAtSignals)
    over = threading.Event()
    watch = threading.Thread(target=_look_when_changed, args=(over,), name="changes", daemon=True)
    if settings.PROVIDER_CHECK_S:
        watch.start()
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
            if (now := generation.policy()) == seen:
                continue
            try:
                app.send_task("orchestrator.tasks.check_changed_providers", expires=settings.PROVIDER_CHECK_S)
            except (OperationalError, OSError):
                continue  # there is no queue at the moment; tried again
            seen = now


def _end_without_clock(failure: threading.ExceptHookArgs) -> None:
    """A thread failed, perhaps the clock, and without it nothing would ever be due. The supervisor starts anew."""
    threading.__excepthook__(failure)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
