"""Housekeeping happens by itself, with Redis and without."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.celery import SCHEDULE
from orchestrator.celery import app as celery
from orchestrator.supervisor import worker as worker_process
from orchestrator.supervisor.worker import Clock
from tests.product import Product, until
from tests.provider import Provider

EXPIRED = """
INSERT INTO cache_cacheentry (hash, tenant_id, namespace, model, created_at, expires_at, size, body)
VALUES ('00', 1, '', 'tiny', '2020-01-01 00:00:00', '2020-01-02 00:00:00', 0, x'')
"""


@pytest.fixture
def data(short_path: Path) -> Path:
    """A data directory with an answer in its cache that has long expired."""
    Product(only="worker", data=short_path).start().clean_up()
    with closing(sqlite3.connect(short_path / "cache.sqlite3")) as cache, cache:
        cache.execute(EXPIRED)
    return short_path


def kept(data: Path) -> int:
    with closing(sqlite3.connect(data / "cache.sqlite3")) as cache:
        count: int = cache.execute("SELECT COUNT(*) FROM cache_cacheentry").fetchone()[0]
        return count


def until_looked_at(provider: Provider) -> None:
    def heard() -> int:
        return sum(opened.received for opened in provider.opened)

    before = heard()
    until(lambda: heard() > before, "another look at the provider", 30)


def kill(part: Product) -> None:
    """Kill its process, and wait until there is another."""
    before = part.pids()
    os.kill(before[0], 9)
    until(lambda: part.pids() not in ([], before), "it to be back", 30)


@pytest.mark.parametrize("has_redis", [True, False])
def test_expired_answers_are_deleted_soon_after_the_start(data: Path, has_redis: bool) -> None:
    with ExitStack() as running:
        if has_redis:
            running.enter_context(Product(only="redis", data=data))
        worker = running.enter_context(Product(only="worker", data=data))
        until(lambda: kept(data) == 0, "the answer to go", 30)
        assert "Traceback" not in worker.logs()


def test_the_worker_outlives_its_redis(short_path: Path, provider: Provider) -> None:
    """It works with what this machine keeps, and asks Redis for nothing."""
    openai = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": provider.address}

    with (
        Product(only="redis", data=short_path) as redis,
        Product(only="worker", data=short_path, **openai, ORCHESTRATOR_PROVIDER_CHECK_S=1) as worker,
    ):
        until_looked_at(provider)
        process = worker.pids()
        for _ in range(3):
            kill(redis)
            until_looked_at(provider)
        assert worker.pids() == process


DEAF_AT_A_SIGNAL = """
import signal, sys
def go_deaf(*_):
    from kombu.transport.virtual.base import QoS
    QoS.can_consume = lambda _: False  # its loop goes on, and asks for nothing any more
if "orchestrator.supervisor.worker" in sys.orig_argv:
    signal.signal(signal.SIGUSR2, go_deaf)
"""


def test_a_worker_that_takes_nothing_any_more_is_started_anew(
    short_path: Path, tmp_path: Path, provider: Provider
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEAF_AT_A_SIGNAL)
    openai = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": provider.address}
    env = {**openai, "ORCHESTRATOR_PROVIDER_CHECK_S": 1, "PYTHONPATH": tmp_path}

    with Product(only="worker", data=short_path, **env) as worker:
        until_looked_at(provider)
        before = worker.pids()
        os.kill(before[0], signal.SIGUSR2)
        until(lambda: worker.pids() not in ([], before), "another worker", 60)
        until_looked_at(provider)
        assert "nothing is taken from its queue" in worker.logs()


def test_when_the_time_is_set_back_what_is_due_is_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    shift = timedelta()
    monkeypatch.setattr(celery, "now", lambda: datetime.now(UTC) + shift)
    monkeypatch.setattr(worker_process, "_ahead", lambda: shift.total_seconds())
    sent: list[str] = []
    monkeypatch.setattr(Clock, "apply_entry", lambda _, entry, producer=None: sent.append(entry.name))
    clock = Clock(app=celery, lazy=False)

    def ticks() -> set[str]:
        sent.clear()
        for _ in range(3 * len(SCHEDULE)):
            clock.tick()
        return set(sent)

    assert ticks() == SCHEDULE.keys()
    shift = timedelta(seconds=-2)
    assert ticks() == set()
    shift = timedelta(hours=-2)
    assert ticks() == SCHEDULE.keys()
    assert ticks() == set()
    shift = timedelta(hours=2)
    assert ticks() == SCHEDULE.keys(), "set on, all is due by itself"


def test_a_look_at_a_provider_that_hangs_does_not_hold_up_the_end(provider: Provider) -> None:
    provider.listing, before = "silent", provider.waiting
    openai = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": provider.address}
    try:
        with Product(only="worker", **openai, ORCHESTRATOR_PROVIDER_CHECK_S=1) as worker:
            until(lambda: provider.waiting > before, "a look to be under way", 30)
            assert worker.stop() == 0
            assert "is killed" not in worker.logs()
    finally:
        provider.listing = "good"


def test_every_task_on_the_schedule_exists() -> None:
    from orchestrator import tasks

    names = {f"{tasks.__name__}.{name}" for name in vars(tasks)}
    assert {entry["task"] for entry in SCHEDULE.values()} <= names
