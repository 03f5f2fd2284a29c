"""Records reach the disk, whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from orchestrator.core.clock import Clock
from orchestrator.core.errors import (
    LedgerUnavailable,
)
from orchestrator.core.permissions import EVERYBODY
from orchestrator.core.types import Caller, ChatRequest, Model
from orchestrator.ledger import batch, retention, writing
from orchestrator.ledger.folding import Folder
from orchestrator.ledger.retention import prune
from orchestrator.ledger.rows import Line, Repeat
from orchestrator.ledger.writer import Entry, Ledger
from orchestrator.models import AnswerOutcome, Attempt, RequestRecord, ShadowRun, Tenant, UnreadGrades


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
    record = await RequestRecord.objects.of(EVERYBODY).aget()
    assert (record.total_us, record.is_paid) == (500_000, True)


async def test_many_commits_share_few_transactions(
    ledger: Ledger, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    insert = batch.insert

    def counting(rows: list[dict[str, Any]]) -> None:
        sizes.append(len(rows))
        insert(rows)

    monkeypatch.setattr(batch, "insert", counting)
    await asyncio.gather(*(ledger.commit(entry(ledger, alice)) for _ in range(500)))
    assert sum(sizes) == 500
    assert len(sizes) < 100


async def test_when_the_database_fails_a_commit_says_so_and_the_record_is_written_later(
    ledger: Ledger, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = batch.insert

    def full(rows: list[dict[str, Any]]) -> None:
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(batch, "insert", full)
    monkeypatch.setattr(writing, "RETRY_S", 0.01)
    with pytest.raises(LedgerUnavailable, match="disk is full"):
        await ledger.commit(entry(ledger, alice, "paid"))
    with pytest.raises(LedgerUnavailable):
        ledger.must_be_writable()
    monkeypatch.setattr(batch, "insert", insert)
    async with asyncio.timeout(60):
        while ledger.failure:
            await asyncio.sleep(0.01)
    assert (await RequestRecord.objects.of(EVERYBODY).aget()).request_id == "paid"


async def test_one_record_the_database_refuses_does_not_take_others_with_it(ledger: Ledger, alice: Caller) -> None:
    nobody = Caller(tenant_id=10**6, tenant="nobody")
    good, bad = entry(ledger, alice, "good"), entry(ledger, nobody, "bad")
    results = await asyncio.gather(ledger.commit(good), ledger.commit(bad), return_exceptions=True)
    assert results[0] is None
    assert isinstance(results[1], LedgerUnavailable)
    assert [record.request_id async for record in RequestRecord.objects.of(EVERYBODY)] == ["good"]


async def test_closing_writes_what_waits(alice: Caller) -> None:
    ledger = Ledger(Clock())
    for _ in range(100):
        ledger.post(entry(ledger, alice))
    await asyncio.to_thread(ledger.close)
    assert await RequestRecord.objects.of(EVERYBODY).acount() == 100


def test_who_sees_a_request_sees_all_who_did_not_answer_it(
    ledger: Ledger, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many they are: folded before they come, the request would count as one that failed alone, too."""
    seen: list[tuple[int, int]] = []
    turn = writing.turn

    @contextmanager
    def watched(alias: str) -> Iterator[None]:
        with turn(alias):
            yield
            seen.append((RequestRecord.objects.of(EVERYBODY).count(), Attempt.objects.of(EVERYBODY).count()))

    monkeypatch.setattr(writing, "turn", watched)
    monkeypatch.setattr(writing, "MOST_A_COMMIT", 2)
    failed = entry(ledger, alice)
    for _ in range(5):
        failed.tried(Model(name="groq/small", digest="", engine="groq"), LedgerUnavailable("no"), 0.1)
    ledger.post(failed)
    ledger.close()
    assert set(seen) - {(0, 0), (0, 5)} == {(1, 5)}


def test_old_records_are_pruned_and_young_ones_stay(ledger: Ledger, alice: Caller) -> None:
    for age in (1, 89, 91, 400):
        ledger.post(entry(ledger, alice, str(age), at=timezone.now() - timedelta(days=age)))
    ledger.close()
    for age in (1, 91):
        day = timezone.now().date() - timedelta(days=age)
        UnreadGrades.objects.create(day=day, tenant_id=alice.tenant_id, judge="openai/big", count=age)
    assert prune(days=90, batch=1) == 0, "they are in no figure yet"
    Folder().fold(5.0)
    assert prune(days=90, batch=1) == 2
    assert [row.count for row in UnreadGrades.objects.of(EVERYBODY)] == [1]
    assert {record.request_id for record in RequestRecord.objects.of(EVERYBODY)} == {"1", "89"}


def test_what_takes_too_long_to_prune_is_for_the_next_time(
    ledger: Ledger, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look at the clock is a second later, and nothing has to wait until everything else is gone."""
    for number in range(9):
        old = {"tenant_id": alice.tenant_id, "at": timezone.now() - timedelta(days=91 + number)}
        ShadowRun.rows.create(**old, request_id=str(number), rule="r", model="m", shadow="n", took_us=1)
        ledger.post(entry(ledger, alice, str(number), at=old["at"]))
    ledger.close()
    Folder().fold(5.0)
    clock = count()
    monkeypatch.setattr(retention, "monotonic", lambda: float(next(clock)))
    assert prune(days=90, batch=2, within_s=7.0) == 4
    assert RequestRecord.objects.of(EVERYBODY).count() == 5
    assert ShadowRun.objects.of(EVERYBODY).count() == 5
    assert (prune(days=90, batch=2), RequestRecord.objects.of(EVERYBODY).exists()) == (5, False)
    assert not ShadowRun.objects.of(EVERYBODY).exists()


def test_what_was_said_of_answers_goes_with_their_records(alice: Caller) -> None:
    """Learned from or not: a note of 500 characters is somebody's words, as much as a question."""
    for age in (1, 89, 91, 400):
        of_it = {"tenant_id": alice.tenant_id, "at": timezone.now() - timedelta(days=age)}
        ShadowRun.rows.create(**of_it, request_id=str(age), rule="r", model="m", shadow="n", took_us=1)
        for learned_in in (None, 0, 7):
            AnswerOutcome.rows.create(
                **of_it,
                request_id=str(age),
                model="m",
                kind="feedback",
                good=0,
                by=str(learned_in),
                learned_in=learned_in,
            )
    prune(days=90, batch=1)
    for table, each in ((ShadowRun, 1), (AnswerOutcome, 3)):
        left = table.objects.of(EVERYBODY).values_list("request_id", flat=True)
        assert sorted(left) == sorted(["1", "89"] * each), table.__name__


async def test_no_error_ends_the_thread(ledger: Ledger, alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    insert = batch.insert

    def gone(rows: list[dict[str, Any]]) -> None:
        raise InterfaceError("connection already closed")

    monkeypatch.setattr(batch, "insert", gone)
    monkeypatch.setattr(writing, "RETRY_S", 0.01)
    with pytest.raises(LedgerUnavailable, match="already closed"):
        await ledger.commit(entry(ledger, alice, "paid"))
    assert ledger.failure == "connection already closed"
    monkeypatch.setattr(batch, "insert", insert)
    async with asyncio.timeout(60):
        while ledger.failure:
            await asyncio.sleep(0.01)
    record = await RequestRecord.objects.of(EVERYBODY).aget()
    assert (record.status, record.outcome) == (503, "ledger_unavailable"), "its caller was told so"


async def test_an_entry_is_taken_once(ledger: Ledger, alice: Caller) -> None:
    one = entry(ledger, alice)
    await ledger.commit(one)
    ledger.post(one)
    ledger.post(one)
    await asyncio.to_thread(ledger.close)
    assert await RequestRecord.objects.of(EVERYBODY).acount() == 1


async def test_repetitions_are_rows_like_the_first_with_their_own_id_moment_and_duration(
    ledger: Ledger, alice: Caller
) -> None:
    first = entry(ledger, alice, "first", route="named")
    first.tier, first.model = "memory", "tiny:latest"
    lines = [Line(first.row()), Line(entry(ledger, alice, route="other").row())]
    ledger.post(first)
    moment = int(first.at.timestamp() * 1e6) + 1
    for number in range(1000):
        ledger.repeat(Repeat(lines[number % 2], f"again {number}", moment + number, 17))
    await asyncio.to_thread(ledger.close)
    assert await RequestRecord.objects.of(EVERYBODY).acount() == 1001
    again = await RequestRecord.objects.of(EVERYBODY).aget(request_id="again 998")
    expected = await RequestRecord.objects.of(EVERYBODY).aget(request_id="first")
    for field in RequestRecord._meta.concrete_fields:
        if field.name not in {"id", "request_id", "at", "first_us", "total_us"}:
            assert getattr(again, field.attname) == getattr(expected, field.attname), field.name
    assert (again.at - expected.at) == timedelta(microseconds=999)
    assert (again.first_us, again.total_us) == (17, 17)
    assert (
        await RequestRecord.objects.of(EVERYBODY).filter(route="other", request_id__startswith="again").acount() == 500
    )


async def test_repetitions_the_database_refuses_do_not_take_others_with_them(ledger: Ledger, alice: Caller) -> None:
    nobody = Caller(tenant_id=10**6, tenant="nobody")
    for caller in (alice, nobody):
        ledger.repeat(Repeat(Line(entry(ledger, caller).row()), caller.tenant, 1_790_000_000_000_000, 9))
    await asyncio.to_thread(ledger.close)
    assert [record.request_id async for record in RequestRecord.objects.of(EVERYBODY)] == ["acme"]
    assert (ledger.written, ledger.dropped) == (1, 1)


async def test_repetitions_wait_while_the_database_cannot_be_written(
    ledger: Ledger, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = batch.insert_repeats

    def full(_: object) -> None:
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(batch, "insert_repeats", full)
    monkeypatch.setattr(writing, "RETRY_S", 0.01)
    monkeypatch.setattr(writing, "MOST_PENDING", 3)
    line = Line(entry(ledger, alice).row())
    told: list[Repeat] = []
    monkeypatch.setattr(ledger, "_repeated", told.extend)
    ledger.repeat(Repeat(line, "0", 1_790_000_000_000_000, 9))
    async with asyncio.timeout(60):
        while not ledger.failure:
            await asyncio.sleep(0.01)
    for number in range(1, 10):
        ledger.repeat(Repeat(line, str(number), 1_790_000_000_000_000, 9))
    assert ledger.dropped >= 6, "no more than the bound wait"
    monkeypatch.setattr(batch, "insert_repeats", insert)
    await asyncio.to_thread(ledger.close)
    assert await RequestRecord.objects.of(EVERYBODY).acount() + ledger.dropped == 10
    assert len(told) == await RequestRecord.objects.of(EVERYBODY).acount(), (
        "who counts them hears of each that was written once"
    )


async def test_what_is_written_is_not_written_again_when_the_database_is_locked_in_the_middle(
    ledger: Ledger, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One record is refused, so they go one by one; then the database is locked for a while."""
    nobody = Caller(tenant_id=10**6, tenant="nobody")
    real = {"insert": batch.insert, "insert_repeats": batch.insert_repeats}

    def locked_for_a_while(kind: str) -> Any:
        tries: list[int] = []

        def write(rows: list[Any]) -> None:
            if len(rows) < 5:  # the first try is of all
                tries.append(1)
                if 3 <= len(tries) <= 5:
                    raise OperationalError("database is locked")
            real[kind](rows)

        return write

    for kind in real:
        monkeypatch.setattr(batch, kind, locked_for_a_while(kind))
    monkeypatch.setattr(writing, "RETRY_S", 0.01)
    with ledger._wake:  # all in one batch
        for number, caller in enumerate([alice, alice, nobody, alice, alice]):
            line = Line(entry(ledger, caller, "r").row())
            for again in range(3):
                ledger.repeat(Repeat(line, f"repeat {number} {again}", 1_790_000_000_000_000, 9))
            ledger.post(entry(ledger, caller, str(number)))
    async with asyncio.timeout(60):
        while ledger.pending or ledger.failure:
            await asyncio.sleep(0.01)
    await asyncio.to_thread(ledger.close)
    written = [record.request_id async for record in RequestRecord.objects.of(EVERYBODY)]
    right = {f"repeat {number} {again}" for number in (0, 1, 3, 4) for again in range(3)} | set("0134")
    assert sorted(written) == sorted(right)
    assert (ledger.written, ledger.dropped) == (16, 4)


def test_records_that_cannot_be_written_at_the_end_are_said_to_be_lost(
    transactional_db: None, alice: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def locked(rows: list[dict[str, Any]]) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(batch, "insert", locked)
    ledger = Ledger(Clock())
    for number in range(10):
        ledger.post(entry(ledger, alice, str(number)))
    ledger.close()
    assert ledger.dropped == 10
    assert "10 request records could not be written and are lost: database is locked" in caplog.text
    ledger.post(entry(ledger, alice, "late"))
    assert ledger.dropped == 11
    assert "it came after the end" in caplog.text


async def test_what_listens_to_it_may_fail(
    transactional_db: None, alice: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise ValueError("no such label")

    ledger = Ledger(Clock(), broken, broken)
    ledger.repeat(Repeat(Line(entry(ledger, alice).row()), "repeat", 1_790_000_000_000_000, 9))
    ledger.post(entry(ledger, alice, "free"))
    await ledger.commit(entry(ledger, alice, "paid", is_paid=True))
    ledger.must_be_writable()
    await asyncio.to_thread(ledger.close)
    assert {record.request_id async for record in RequestRecord.objects.of(EVERYBODY)} == {"repeat", "free", "paid"}
    assert await RequestRecord.objects.of(EVERYBODY).acount() == 3
    assert ledger.failure is None
    assert caplog.text.count("in a way it should not") == 3


async def test_it_tells_of_each_entry_once_and_as_it_ended(
    transactional_db: None, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[tuple[str, str]] = []
    ledger = Ledger(Clock(), lambda entry: heard.append((entry.request.request_id, entry.outcome)))
    free, paid = entry(ledger, alice, "free"), entry(ledger, alice, "paid", is_paid=True)
    ledger.post(free)
    ledger.post(free)
    await ledger.commit(paid)
    ledger.post(paid)

    def refused(rows: object) -> None:
        raise OperationalError("disk full")

    monkeypatch.setattr(batch, "insert", refused)
    with pytest.raises(LedgerUnavailable):
        await ledger.commit(entry(ledger, alice, "refused", is_paid=True))
    monkeypatch.undo()
    await asyncio.to_thread(ledger.close)
    assert heard == [("free", "done"), ("paid", "done"), ("refused", "ledger_unavailable")]
