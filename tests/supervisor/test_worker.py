"""Housekeeping happens by itself, with Redis and without."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from orchestrator.celery import SCHEDULE, broker
from orchestrator.supervisor.worker import THREADS
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
    """What it is given goes on coming, whether it saw Redis go or only found it back."""
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


def test_what_ends_while_redis_is_gone_takes_no_place_of_what_comes_after(short_path: Path, provider: Provider) -> None:
    openai = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": provider.address}
    provider.listing, before = "silent", provider.waiting
    try:
        with (
            Product(only="redis", data=short_path) as redis,
            Product(only="worker", data=short_path, **openai, ORCHESTRATOR_PROVIDER_CHECK_S=1) as worker,
        ):
            until(lambda: provider.waiting >= before + THREADS, "a look by each of its threads", 30)
            assert redis.stop() == 0
            provider.listing = "good"
            until(lambda: looks(short_path) >= THREADS, "these to be given up", 30)
            process = worker.pids()
            redis.start()
            until_looked_at(provider)
            assert worker.pids() == process
    finally:
        provider.listing = "good"


def looks(data: Path) -> int:
    """How many at a provider have ended."""
    with closing(sqlite3.connect(data / "ledger.sqlite3")) as ledger:
        count: int = ledger.execute("SELECT COUNT(*) FROM registry_providercheck").fetchone()[0]
        return count


DEAF_AT_A_SIGNAL = """
import signal, sys
def go_deaf(*_):
    from kombu.transport.virtual.base import QoS
    QoS.can_consume = lambda _: False  # its loop goes on, and asks for nothing any more
if "orchestrator.supervisor.worker" in sys.orig_argv:
    signal.signal(signal.SIGUSR2, go_deaf)
"""


@pytest.mark.parametrize("has_redis", [True, False])
def test_a_worker_that_takes_nothing_any_more_is_started_anew(
    short_path: Path, tmp_path: Path, provider: Provider, has_redis: bool
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DEAF_AT_A_SIGNAL)
    openai = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": provider.address}
    env = {**openai, "ORCHESTRATOR_PROVIDER_CHECK_S": 1, "PYTHONPATH": tmp_path}

    with ExitStack() as running:
        if has_redis:
            running.enter_context(Product(only="redis", data=short_path))
        worker = running.enter_context(Product(only="worker", data=short_path, **env))
        until_looked_at(provider)
        before = worker.pids()
        os.kill(before[0], signal.SIGUSR2)
        until(lambda: worker.pids() not in ([], before), "another worker", 60)
        until_looked_at(provider)
        assert "nothing is taken from the queue" in worker.logs()


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


def test_a_dead_redis_holds_up_nobody_for_long() -> None:
    options = broker("unix:///nowhere.sock?db=0")["broker_transport_options"]
    assert options["socket_connect_timeout"] * (options["max_retries"] + 1) <= 10


def test_every_task_on_the_schedule_exists() -> None:
    from orchestrator import tasks

    names = {f"{tasks.__name__}.{name}" for name in vars(tasks)}
    assert {entry["task"] for entry in SCHEDULE.values()} <= names


def test_a_password_of_redis_behind_a_socket_is_told_to_the_queue() -> None:
    assert broker("unix://:pass%2Fword@/run/redis.sock?db=0")["broker_url"] == (
        "redis+socket://:pass%2Fword@/run/redis.sock?virtual_host=0"
    )
    assert broker("unix:///run/redis.sock?db=0")["broker_url"] == "redis+socket:///run/redis.sock?virtual_host=0"
