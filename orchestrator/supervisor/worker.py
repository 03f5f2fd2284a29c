"""The Celery worker and its clock in one process: `python -m orchestrator.supervisor.worker`.

Celery's own `--beat` forks a process for the clock, which is no good once threads run; here it is
a thread. The worker's pool is threads, too: tasks wait for databases, they do not compute.
"""

import faulthandler
import tempfile

import django
from celery.beat import EmbeddedService

from orchestrator.celery import app, schedule_file

THREADS = 2


def main() -> None:
    """Work until SIGTERM; then finish what has begun."""
    faulthandler.enable()
    django.setup()
    # Kombu's file queue moves each message through the temporary folder; nothing leaves the data directory.
    tempfile.tempdir = str(schedule_file().parent)
    clock = EmbeddedService(app, thread=True, schedule_filename=str(schedule_file()))
    clock.start()
    worker = app.Worker(
        pool="threads",
        concurrency=THREADS,
        hostname="worker@orchestrator",
        loglevel="WARNING",
        redirect_stdouts=False,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    try:
        worker.start()
    finally:
        clock.stop()
    raise SystemExit(worker.exitcode)


if __name__ == "__main__":
    main()
