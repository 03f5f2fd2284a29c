"""The Celery worker and its clock in one process: `python -m orchestrator.supervisor.worker`.

Celery's own `--beat` forks a process for the clock, which is no good once threads run; here it is
a thread. The worker's pool is threads, too: tasks wait for databases, they do not compute.

Left to itself each of the two looks only once a second whether it is to end. And neither is noticed
when it hangs: a sign of life goes to the supervisor for as long as what is due is put into the queue
and taken out of it.
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
from celery import signals as told_by_celery
from celery.beat import EmbeddedService, Scheduler
from celery.platforms import SecurityWarning
from django.conf import settings
from kombu.exceptions import OperationalError

from cache.generation import Generation
from orchestrator.celery import app
from orchestrator.supervisor.liveness import Liveness
from orchestrator.supervisor.pulse import Heart

THREADS = 2
CHANGE_EVERY_S = 0.5
BEAT_EVERY_S = 1.0

log = logging.getLogger(__name__)


class Clock(Scheduler):  # type: ignore[misc]  # Celery has no types
    """Celery's own, in memory: the schedule has nothing that must be remembered.

    Celery's file is a pickle, and with pysqlite3 in sqlite3's place it cannot be opened from Python 3.13 on.
    """

    liveness = Liveness()

    def tick(self, *args: Any, **options: Any) -> float:
        """Called by Celery whenever something may be due; how long it may sleep, in seconds."""
        self.liveness.tick()
        return float(super().tick(*args, **options))


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
    faulthandler.enable()  # one that hangs is ended with SIGABRT, which shows where it hung
    threading.excepthook = _end_without_clock
    os.environ["CELERY_SKIP_CHECKS"] = "1"  # `serve` has checked; Celery's checks would load every page
    warnings.filterwarnings("ignore", category=SecurityWarning)  # nor need it tell root what `serve` told
    django.setup()
    logging.getLogger("celery").setLevel(logging.WARNING)  # it tells each time something is due
    clock = EmbeddedService(app, thread=True, scheduler_cls=Clock)
    clock.start()
    for end in (WakesAtSignals.heard, WakesAtSignals.told):
        end.setblocking(False)
    signal.set_wakeup_fd(WakesAtSignals.told.fileno(), warn_on_full_buffer=False)
    app.steps["consumer"].add(WakesAtSignals)
    over = threading.Event()
    watch = threading.Thread(target=_look_when_changed, args=(over,), name="changes", daemon=True)
    if settings.PROVIDER_CHECK_S:
        watch.start()
    _tell(Clock.liveness)
    threading.Thread(target=_beat, args=(over, Clock.liveness), name="pulse", daemon=True).start()
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


def _beat(over: threading.Event, liveness: Liveness) -> None:
    """Give a sign of life each second for as long as the work is done."""
    heart = Heart()
    heart.beat()  # it has started
    was_alive = True
    while not over.wait(BEAT_EVERY_S):
        if is_alive := liveness.is_alive(_waiting):
            heart.beat()
        elif was_alive:
            log.error("nothing is taken from the queue, or the clock stands still; unless that ends, the worker does")
        was_alive = is_alive


def _tell(liveness: Liveness) -> None:
    """Have Celery tell what it takes and does."""
    for signal_, told in (
        (told_by_celery.task_received, lambda **_: liveness.take()),
        (told_by_celery.task_revoked, lambda **_: liveness.take()),  # it was taken, but is of yesterday
        (told_by_celery.task_prerun, lambda task_id, **_: liveness.begin(task_id)),
        (told_by_celery.task_postrun, lambda task_id, **_: liveness.finish(task_id)),
    ):
        signal_.connect(told, weak=False)


def _waiting() -> int:
    """How many tasks are in the queue: none when there is no queue, or when nobody can tell."""
    try:
        with app.connection_for_read() as connection:
            # Not passively, which with a prefix of keys looks for the queue without it. It is there, or costs nothing.
            return int(connection.channel().queue_declare(app.conf.task_default_queue).message_count)
    except Exception:  # noqa: BLE001  # of Redis, Sentinel, Kombu: where nobody can tell, this is no reason to end
        return 0


def _end_without_clock(failure: threading.ExceptHookArgs) -> None:
    """A thread failed, perhaps the clock, and without it nothing would ever be due. The supervisor starts anew."""
    threading.__excepthook__(failure)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
