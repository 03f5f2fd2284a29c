"""Records reach the disk, whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from orchestrator.core.clock import Clock
from orchestrator.core.errors import LedgerUnavailable
from orchestrator.core.types import Caller, ChatRequest
from orchestrator.ledger import writer
from orchestrator.ledger.retention import prune
from orchestrator.ledger.writer import Entry, Ledger
from orchestrator.models import RequestRecord, Tenant


@pytest.fixture
def ledger(transactional_db: None) -> Iterator[Ledger]:
    ledger = Ledger(Clock())
    yield ledger
    ledger.close()


@pytest.fixture
def alice(transactional_db: None) -> Caller:
    return Caller(tenant_id=Tenant.objects.create(name="acme").pk, tenant="acme")


def entry(ledger: Ledger, caller: Caller, request_id: str = "", **fields: Any) -> Entry:
    entry = ledger.begin(ChatRequest(model="tiny", request_id=request_id, endpoint="/api/chat"), caller)
    entry.ended("done", entry.started + 0.5)
    for name, value in fields.items():
        setattr(entry, name, value)
    return entry


async def test_a_committed_record_is_there_when_commit_returns(ledger: Ledger, alice: Caller) -> None:
    await ledger.commit(entry(ledger, alice, is_paid=True))
    record = await RequestRecord.objects.aget()
    assert (record.total_us, record.cost_microusd) == (500_000, None)


async def test_many_commits_share_few_transactions(
    ledger: Ledger, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    insert = writer.insert

    def counting(rows: list[dict[str, Any]]) -> None:
        sizes.append(len(rows))
        insert(rows)

    monkeypatch.setattr(writer, "insert", counting)
    await asyncio.gather(*(ledger.commit(entry(ledger, alice)) for _ in range(500)))
    assert sum(sizes) == 500
    assert len(sizes) < 100


async def test_when_the_database_fails_a_commit_says_so_and_the_record_is_written_later(
    ledger: Ledger, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = writer.insert

    def full(rows: list[dict[str, Any]]) -> None:
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(writer, "insert", full)
    monkeypatch.setattr(writer, "RETRY_S", 0.01)
    with pytest.raises(LedgerUnavailable, match="disk is full"):
        await ledger.commit(entry(ledger, alice, "paid"))
    with pytest.raises(LedgerUnavailable):
        ledger.must_be_writable()
    monkeypatch.setattr(writer, "insert", insert)
    async with asyncio.timeout(10):
        while ledger.failure:
            await asyncio.sleep(0.01)
    assert (await RequestRecord.objects.aget()).request_id == "paid"


async def test_one_record_the_database_refuses_does_not_take_others_with_it(ledger: Ledger, alice: Caller) -> None:
    nobody = Caller(tenant_id=10**6, tenant="nobody")
    good, bad = entry(ledger, alice, "good"), entry(ledger, nobody, "bad")
    results = await asyncio.gather(ledger.commit(good), ledger.commit(bad), return_exceptions=True)
    assert results[0] is None
    assert isinstance(results[1], LedgerUnavailable)
    assert [record.request_id async for record in RequestRecord.objects.all()] == ["good"]


async def test_closing_writes_what_waits(alice: Caller) -> None:
    ledger = Ledger(Clock())
    for _ in range(100):
        ledger.post(entry(ledger, alice))
    await asyncio.to_thread(ledger.close)
    assert await RequestRecord.objects.acount() == 100


def test_old_records_are_pruned_and_young_ones_stay(ledger: Ledger, alice: Caller) -> None:
    for age in (1, 89, 91, 400):
        ledger.post(entry(ledger, alice, str(age), at=timezone.now() - timedelta(days=age)))
    ledger.close()
    assert prune(days=90, batch=1) == 2
    assert {record.request_id for record in RequestRecord.objects.all()} == {"1", "89"}


async def test_no_error_ends_the_thread(ledger: Ledger, alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    insert = writer.insert

    def gone(rows: list[dict[str, Any]]) -> None:
        raise InterfaceError("connection already closed")

    monkeypatch.setattr(writer, "insert", gone)
    monkeypatch.setattr(writer, "RETRY_S", 0.01)
    with pytest.raises(LedgerUnavailable, match="already closed"):
        await ledger.commit(entry(ledger, alice, "paid"))
    assert ledger.failure == "connection already closed"
    monkeypatch.setattr(writer, "insert", insert)
    async with asyncio.timeout(10):
        while ledger.failure:
            await asyncio.sleep(0.01)
    record = await RequestRecord.objects.aget()
    assert (record.status, record.outcome) == (503, "ledger_unavailable"), "its caller was told so"


async def test_an_entry_is_taken_once(ledger: Ledger, alice: Caller) -> None:
    one = entry(ledger, alice)
    await ledger.commit(one)
    ledger.post(one)
    ledger.post(one)
    await asyncio.to_thread(ledger.close)
    assert await RequestRecord.objects.acount() == 1
