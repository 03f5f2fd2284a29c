"""Looks at providers, against a real server that does what it must not."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import sync_to_async
from celery.signals import worker_shutting_down

from orchestrator import provider_checks, tasks
from orchestrator.core.tasks import Stoppable
from orchestrator.engines import cloud
from orchestrator.engines.cloud import Check
from orchestrator.provider_checks import look, remember
from orchestrator.registry.entries import ProviderEntry, Registry
from orchestrator.registry.health import newest_checks, open_breakers
from orchestrator.registry.models import OpenBreaker, Provider, ProviderCheck
from tests.provider import Provider as Server

pytestmark = [pytest.mark.django_db(transaction=True)]
KEY = "sk-never-to-be-seen"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
FINE = Check(is_ok=True, took_s=0.2, words="lists 2 models", listed=2)
GONE = Check(is_ok=False, took_s=5.0, words="did not answer within 5 s")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A provider on this test's own event loop."""
    server = await Server().start()
    yield server
    await server.stop()


def entry(address: str, name: str = "groq") -> ProviderEntry:
    return ProviderEntry(
        name=name, kind="groq", address=address, key=KEY, key_from="GROQ_API_KEY", address_from="GROQ_BASE_URL"
    )


@pytest.mark.parametrize(
    ("listing", "is_ok", "words"),
    [
        ("good", True, "lists 2 models"),
        ("401", False, "refused our key (HTTP 401); check GROQ_API_KEY"),
        ("403", False, "refused this to us (HTTP 403): no, 403: Bearer …"),
        ("404", False, "does not have a list of models at this address: no, 404: Bearer …"),
        ("429", False, "answered HTTP 429: no, 429: Bearer …"),
        ("500", False, "answered HTTP 500: no, 500: Bearer …"),
        ("html", False, "sent a page in place of an answer; is GROQ_BASE_URL right?"),
        ("silent", False, "did not answer within 0.3 s"),
    ],
)
async def test_a_look_says_in_words_how_a_provider_is(server, monkeypatch, caplog, listing, is_ok, words):
    monkeypatch.setattr(cloud, "CHECK_S", 0.3)
    server.listing = listing
    with caplog.at_level(logging.DEBUG):
        seen = await look([entry(server.address)])
        await sync_to_async(remember)(seen)
    row = await ProviderCheck.objects.aget()
    assert (row.provider, row.is_ok, row.words) == ("groq", is_ok, words)
    assert row.listed == (2 if is_ok else None)
    assert row.took_us > 0
    assert KEY not in caplog.text + row.words


async def test_a_key_is_looked_at_where_anybody_is_shown_the_list(server):
    openrouter = ProviderEntry(name="openrouter", kind="openrouter", address=server.address, key=KEY, key_from="HERE")
    assert (await look([openrouter]))["openrouter"].is_ok
    server.listing = "open"
    assert (await look([openrouter]))["openrouter"].words == "refused our key (HTTP 401); check HERE"
    assert (await look([entry(server.address)]))["groq"].is_ok


async def test_an_address_where_nobody_listens_is_said_to_be_one():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    check = (await look([entry(f"http://127.0.0.1:{port}/v1")]))["groq"]
    assert not check.is_ok
    assert check.words.startswith("could not be reached")


async def test_all_are_looked_at_at_once_and_one_that_hangs_holds_up_nobody(server):
    server.listing = "silent"
    looking = asyncio.create_task(look([entry(server.address, f"p{number}") for number in range(20)]))
    async with asyncio.timeout(60):
        while server.waiting < 20:
            await asyncio.sleep(0.01)
    server.gate.set()
    assert all(check.is_ok for check in (await looking).values())


async def test_what_is_wrong_with_one_keeps_nobody_from_looking_at_the_others(server, caplog):
    odd = ProviderEntry(name="odd", kind="no such kind", address=server.address, key=KEY)
    seen = await look([odd, entry(server.address)])
    assert seen["odd"].words == "could not be looked at (KeyError)"
    assert seen["groq"].is_ok
    assert KEY not in caplog.text


def test_a_provider_is_down_since_it_was_first_seen_to_be(caplog):
    for minute, check in enumerate((FINE, GONE, GONE, GONE)):
        remember({"groq": check}, NOON + timedelta(minutes=minute))
    newest = newest_checks(["groq"])["groq"]
    assert (newest.at, newest.since) == (NOON + timedelta(minutes=3), NOON + timedelta(minutes=1))
    assert caplog.text.count("groq is down: it did not answer within 5 s") == 1
    remember({"groq": FINE}, NOON + timedelta(minutes=4))
    assert caplog.text.count("groq answers again: it lists 2 models") == 1


def test_how_it_was_while_nobody_looked_is_not_claimed():
    remember({"groq": GONE}, NOON)
    remember({"groq": GONE}, NOON + timedelta(hours=3))
    assert newest_checks(["groq"])["groq"].since == NOON + timedelta(hours=3)


def test_looks_are_forgotten_after_a_day(monkeypatch):
    monkeypatch.setattr(provider_checks, "MOST_PRUNED", 3)
    for hour in range(30):
        remember({"groq": FINE}, NOON + timedelta(hours=hour))
    oldest = ProviderCheck.objects.order_by("at").first()
    assert oldest is not None
    assert oldest.at == NOON + timedelta(hours=4)


def test_the_newest_looks_of_many_are_found_in_few_queries(django_assert_max_num_queries):
    names = [f"p{number}" for number in range(200)]
    Provider.objects.bulk_create(Provider(name=name, kind="groq") for name in names)
    for minute in range(3):
        remember(dict.fromkeys(names, FINE), NOON + timedelta(minutes=minute))
    remember({"groq": GONE}, NOON)  # of the environment only
    with django_assert_max_num_queries(4):  # two, and one for each that has no row
        newest = newest_checks([*names, "groq", "never-seen"])
    assert len(newest) == 201
    assert newest["p7"].at == NOON + timedelta(minutes=2)


def test_a_breaker_of_a_worker_that_is_gone_counts_no_more():
    for worker, seen in (("a:1", NOON), ("a:2", NOON - timedelta(minutes=2))):
        OpenBreaker.objects.create(
            provider="groq",
            model="groq/x",
            worker=worker,
            opened_at=NOON - timedelta(hours=1),
            seen_at=seen,
            why="late",
        )
    assert [one.worker for one in open_breakers(NOON)["groq"]] == ["a:1"]


def test_the_task_looks_at_what_is_on_and_writes_it_down(provider, monkeypatch):
    monkeypatch.setattr(tasks.registry, "read", lambda: Registry(providers=(entry(provider.address),)))
    tasks.check_providers()
    row = ProviderCheck.objects.get()
    assert (row.provider, row.is_ok, row.listed) == ("groq", True, 2)


def test_a_provider_is_looked_at_again_when_it_was_changed_and_else_waits_for_its_turn(provider, monkeypatch):
    monkeypatch.setattr(tasks, "_looked_at", {})
    one, other = entry(provider.address), entry(provider.address, "other")

    def looked_at(*entries: ProviderEntry) -> list[str]:
        monkeypatch.setattr(tasks.registry, "read", lambda: Registry(providers=entries))
        ProviderCheck.objects.all().delete()
        tasks.check_changed_providers()
        return sorted(ProviderCheck.objects.values_list("provider", flat=True))

    assert looked_at(one) == ["groq"]
    assert looked_at(one, other) == ["other"]
    assert looked_at(one, other) == []
    assert looked_at(replace(one, address=f"{provider.address}/elsewhere"), other) == ["groq"]


async def test_a_look_at_a_provider_that_hangs_is_given_up_when_the_worker_is_to_end(server, monkeypatch):
    monkeypatch.setattr(tasks.registry, "read", lambda: Registry(providers=(entry(server.address),)))
    monkeypatch.setattr(tasks, "looks", Stoppable())
    monkeypatch.setattr(cloud, "CHECK_S", 60.0)
    server.listing = "silent"
    looking = asyncio.create_task(asyncio.to_thread(tasks.check_providers))
    async with asyncio.timeout(60):
        while not server.waiting:
            await asyncio.sleep(0.01)
        worker_shutting_down.send(None, sig="SIGTERM", how="Warm", exitcode=0)
        await looking
    assert not await ProviderCheck.objects.aexists()


def test_a_look_at_a_provider_whose_name_is_not_found_takes_no_longer_than_others(monkeypatch):
    answered = threading.Event()
    monkeypatch.setattr(tasks.registry, "read", lambda: Registry(providers=(entry("http://dead.test"),)))
    monkeypatch.setattr(tasks, "looks", Stoppable())
    monkeypatch.setattr(cloud, "CHECK_S", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(10) and [])
    began = time.monotonic()
    try:
        tasks.check_providers()
        assert time.monotonic() - began < 5
        assert ProviderCheck.objects.get().words == "did not answer within 0.2 s"
    finally:
        answered.set()


def test_without_providers_the_task_does_nothing(monkeypatch, django_assert_num_queries):
    monkeypatch.setattr(tasks.registry, "read", Registry)
    with django_assert_num_queries(0):
        tasks.check_providers()
