"""What calls may cost is reserved before they are made, and what they cost is written with their record."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connection

from orchestrator.core.budgets import SOON_S
from orchestrator.core.clock import Clock
from orchestrator.core.errors import BudgetSpent, LedgerUnavailable, PriceUnknown
from orchestrator.core.prices import Price
from orchestrator.core.types import Caller, ChatRequest, Model
from orchestrator.ledger import batch, reserving, writer, writing
from orchestrator.ledger.bereft import charge_the_dead
from orchestrator.ledger.bills import Bill
from orchestrator.ledger.lives import Life, left_behind
from orchestrator.ledger.machines import Own
from orchestrator.ledger.rows import Line, Repeat
from orchestrator.ledger.shares import Short
from orchestrator.ledger.writer import Entry, Ledger
from orchestrator.models import (
    Budget,
    BudgetAlert,
    BudgetPeriod,
    Charge,
    Hold,
    HoldLine,
    RequestRecord,
    SpendDay,
    Tenant,
)
from orchestrator.models.policy import policy_updated
from tests.ledger.calls import AT, budget, charged, cost, reservation


class At(Clock):
    """It is noon on the day of the calls."""

    def now(self) -> float:
        return AT.timestamp()


@pytest.fixture
async def ledger(transactional_db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ledger]:
    def of_these(alias: str, folder: Path, own: str, at: str) -> int:
        """A ledger that another test has not closed yet looks elsewhere for who lives, and takes these for dead."""
        return charge_the_dead(alias, folder, own, at) if folder == tmp_path else 0

    monkeypatch.setattr(writing, "charge_the_dead", of_these)
    ledger = Ledger(At(), holds_dir=tmp_path)
    yield ledger
    await asyncio.to_thread(ledger.close)


@pytest.fixture
def acme(transactional_db: None) -> Budget:
    return budget(1_000)


def entry(ledger: Ledger, *charges: Any, tenant: int | None = None, **fields: Any) -> Entry:
    tenant_id = tenant or Tenant.objects.get_or_create(name="acme")[0].pk
    one = ledger.begin(ChatRequest(model="big", request_id="r"), Caller(tenant_id=tenant_id, tenant="acme"))
    one.charges.extend(charges)
    one.ended("done", one.started + 0.5)
    for name, value in fields.items():
        setattr(one, name, value)
    return one


make = sync_to_async(entry)


def bill(ledger: Ledger, row: Budget) -> Bill:
    """Of a call that a hard budget is about."""
    caller = Caller(tenant_id=1, tenant="acme", key_id=7, budgets=(row.rule,))
    model = Model(
        name="openai/big", digest="d", engine="openai", is_paid=True, price=Price(input=Decimal(1), output=Decimal(1))
    )
    asked = ChatRequest(model="openai/big", options={"num_predict": 1})
    return Bill(Entry(asked, caller, AT, 0.0), model, asked, ledger, ledger._clock)


@sync_to_async
def period() -> tuple[int, int]:
    """Spent and reserved, of the one period there is."""
    one = BudgetPeriod.objects.get()
    return one.spent_microusd, one.reserved_microusd


async def until(found: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not await sync_to_async(found)():
            await asyncio.sleep(0.01)


async def test_what_is_reserved_is_there_when_the_wait_is_over(ledger: Ledger, acme: Budget) -> None:
    one = reservation(acme, amount=400)
    await ledger.reserve(one)
    assert await period() == (0, 400)
    hold = await Hold.objects.aget()
    assert (hold.pk, hold.amount_microusd, hold.at, hold.call["model"]) == (one.hold, 400, AT, "openai/big")


async def test_a_call_is_charged_with_its_record_and_the_rest_is_free_again(ledger: Ledger, acme: Budget) -> None:
    one = reservation(acme, amount=400)
    await ledger.reserve(one)
    await ledger.commit(await make(ledger, charged(one, 150), is_paid=True))
    assert await period() == (150, 0)
    charge = await sync_to_async(Charge.rows.get)()
    assert (charge.hold, charge.cost_microusd, charge.at) == (one.hold, 150, AT)
    assert await Hold.objects.acount() + await HoldLine.objects.acount() == 0
    day = await sync_to_async(SpendDay.rows.get)()
    assert (day.calls, day.unpriced, day.cost_microusd, day.prompt_tokens, day.key_id) == (1, 0, 150, 10, 7)


async def test_a_budget_refuses_what_would_go_beyond_and_says_when_it_is_renewed(ledger: Ledger, acme: Budget) -> None:
    await ledger.reserve(reservation(acme, amount=1_000))
    with pytest.raises(BudgetSpent, match=r'"acme" allows 0\.001 USD a day for each tenant; 0.00 are left') as busy:
        await ledger.reserve(reservation(acme, amount=1))
    assert busy.value.retry_after_s == SOON_S, "calls under way may give something back"
    one = reservation(amount=None)
    await ledger.reserve(one)
    hold = await Hold.objects.exclude(pk=one.hold).aget()
    ledger.charge(charged(hold.pk, 1_000))
    await until(lambda: Charge.rows.exists())
    with pytest.raises(BudgetSpent, match=r"it is renewed on 27 November \(UTC\)") as spent:
        await ledger.reserve(reservation(acme, amount=1))
    assert spent.value.retry_after_s == 12 * 3600
    assert ledger.over_budget == {"acme": 2}
    assert await period() == (1_000, 0)


async def test_who_meets_a_budget_of_all_tenants_is_not_told_what_is_left(ledger: Ledger, acme: Budget) -> None:
    await Budget.objects.aupdate(each="all")
    await ledger.reserve(reservation(acme, amount=700))
    with pytest.raises(
        BudgetSpent, match=r"does not reach for this call, which may cost 0\.0005; some of it is reserved"
    ):
        await ledger.reserve(reservation(acme, amount=500))


async def test_it_is_reserved_on_all_budgets_or_on_none(ledger: Ledger, acme: Budget) -> None:
    small = await sync_to_async(budget)(50, "small")
    with pytest.raises(BudgetSpent, match="small"):
        await ledger.reserve(reservation(acme, small))
    assert await BudgetPeriod.objects.acount() + await Hold.objects.acount() == 0


async def test_a_soft_budget_refuses_nothing_and_tells_of_its_shares_once(ledger: Ledger) -> None:
    soft = await sync_to_async(budget)(100, "soft", is_hard=False, shares="50,80,100,250")
    for _ in range(4):
        one = reservation(soft, amount=900)
        await ledger.reserve(one)
        await ledger.commit(await make(ledger, charged(one, 60), is_paid=True))
    alerts = {alert.share: alert async for alert in BudgetAlert.objects.all()}
    assert {share: alert.spent_microusd for share, alert in alerts.items()} == {50: 60, 80: 120, 100: 120}
    assert alerts[100].at == AT


async def test_a_changed_budget_counts_at_once_and_tells_nobody_that_it_is_used(ledger: Ledger, acme: Budget) -> None:
    stale = reservation(acme, amount=400)  # with what its caller knew of the budget
    heard: list[object] = []

    def hear(sender: object, **_: Any) -> None:
        heard.append(sender)

    for change, is_refused in (
        ({"amount_microusd": 399}, True),
        ({"is_hard": False}, False),
        ({"is_hard": True, "is_off": True}, False),
    ):
        await Budget.objects.aupdate(**change)
        policy_updated.connect(hear)
        one = stale._replace(hold=f"{len(change)}{is_refused}")
        if is_refused:
            with pytest.raises(BudgetSpent):
                await ledger.reserve(one)
        else:
            await ledger.reserve(one)
            ledger.release(one.hold)
        policy_updated.disconnect(hear)
    await Budget.objects.all().adelete()
    await ledger.reserve(stale)
    assert heard == []


async def test_where_no_price_is_known_a_hard_budget_refuses_and_a_soft_one_does_not(
    ledger: Ledger, acme: Budget
) -> None:
    with pytest.raises(PriceUnknown):
        await ledger.reserve(reservation(acme, amount=None))
    await Budget.objects.aupdate(is_hard=False)
    one = reservation(acme, amount=None)
    await ledger.reserve(one)
    await ledger.commit(await make(ledger, charged(one, None), is_paid=True))
    assert await BudgetPeriod.objects.acount() == 0
    charge = await sync_to_async(Charge.rows.get)()
    assert charge.cost_microusd is None
    assert (await sync_to_async(SpendDay.rows.get)()).unpriced == 1


async def test_where_nobody_knows_what_a_call_cost_it_is_charged_what_was_reserved(
    ledger: Ledger, acme: Budget
) -> None:
    one = reservation(acme, amount=400)
    await ledger.reserve(one)
    await ledger.commit(await make(ledger, charged(one, None), is_paid=True))
    charge = await sync_to_async(Charge.rows.get)()
    assert (charge.cost_microusd, charge.source, charge.is_estimated) == (400, "reserved", True)
    assert await period() == (400, 0)


async def test_a_hold_that_nobody_waits_for_is_there_before_its_call_is_over(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "BATCH_EVERY_S", 3_600)  # nothing else has it written
    soft = await sync_to_async(budget)(1_000, "soft", is_hard=False)
    holds = [reservation(amount=70), reservation(soft, amount=400), reservation(soft, amount=100)]
    for one in holds:
        ledger.hold(one)
        await until(Hold.objects.filter(amount_microusd=one.amount).exists)
    assert await period() == (0, 500)


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "unknown"])
async def test_a_call_that_is_over_before_its_hold_is_written_is_charged_alone(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, *, is_known: bool
) -> None:
    soft = await sync_to_async(budget)(1_000, "soft", is_hard=False)
    written: list[str] = []
    add = reserving.add

    def noted(cursor: Any, holder: str, held: Any) -> None:
        written.extend(one.hold for one, _ in held)
        add(cursor, holder, held)

    monkeypatch.setattr(reserving, "add", noted)
    alone, counted, nothing = reservation(amount=70), reservation(soft, amount=400), reservation(amount=90)
    ended = await make(
        ledger,
        charged(alone, 60 if is_known else None),
        charged(counted, 150 if is_known else None),
        charged(nothing, is_free=True),
        is_paid=True,
    )
    for one in (alone, counted, nothing):
        ledger.hold(one)
    await ledger.commit(ended)
    assert written == [counted.hold]
    costs = {charge.hold: charge.cost_microusd async for charge in Charge.rows.all()}
    assert costs == {alone.hold: 60 if is_known else 70, counted.hold: 150 if is_known else 400}
    assert await period() == (costs[counted.hold], 0)
    assert await Hold.objects.acount() + await HoldLine.objects.acount() == 0


async def test_what_was_written_though_nobody_heard_of_it_is_not_written_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft = await sync_to_async(budget)(1_000, "soft", is_hard=False)
    over, over_too, under_way = reservation(amount=70), reservation(soft, amount=400), reservation(soft, amount=30)
    paid = await make(ledger, charged(over, 60), charged(over_too, 150), is_paid=True)
    write = batch.write
    deaf = iter([True])

    def heard_of_nothing(*args: Any) -> Any:
        told = write(*args)
        if next(deaf, False):
            raise OperationalError("disk I/O error")
        return told

    monkeypatch.setattr(writing, "RETRY_S", 0.01)
    monkeypatch.setattr(batch, "write", heard_of_nothing)
    for one in (over, over_too, under_way):
        ledger.hold(one)
    with pytest.raises(LedgerUnavailable):
        await ledger.commit(paid)
    await until(lambda: ledger.failure is None and not ledger.pending)
    assert {charge.hold: charge.cost_microusd async for charge in Charge.rows.all()} == {
        over.hold: 60,
        over_too.hold: 150,
    }
    assert [hold.pk async for hold in Hold.objects.all()] == [under_way.hold]
    assert await period() == (150, 30)


async def test_who_no_longer_waits_has_nothing_reserved(
    ledger: Ledger, acme: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = asyncio.create_task(ledger.reserve(reservation(acme)))
    await asyncio.sleep(0)
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    began, go_on = threading.Event(), threading.Event()
    reserve = reserving.reserve

    def slow(*args: Any) -> Any:
        began.set()
        assert go_on.wait(30)
        return reserve(*args)

    monkeypatch.setattr(reserving, "reserve", slow)
    monkeypatch.setattr(writer, "RESERVE_DEADLINE_S", 2.0)  # by then it is under way
    with pytest.raises(LedgerUnavailable, match="within its budgets"):
        await ledger.reserve(reservation(acme))
    assert await asyncio.to_thread(began.wait, 10)
    go_on.set()
    monkeypatch.undo()
    after = reservation(acme, amount=1_000)
    await ledger.reserve(after)
    assert [hold.pk async for hold in Hold.objects.all()] == [after.hold]
    assert await period() == (0, 1_000)


async def test_where_the_ledger_cannot_be_written_nothing_is_reserved_and_what_was_spent_is_not_lost(
    ledger: Ledger, acme: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = reservation(acme, amount=400)
    await ledger.reserve(one)
    paid = await make(ledger, charged(one, 150), is_paid=True)

    def full(*_: Any) -> Any:
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(writing, "RETRY_S", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(batch.reserving, "reserve", full)
        patch.setattr(batch.charging, "charge", full)
        with pytest.raises(LedgerUnavailable, match="disk is full"):
            await ledger.reserve(reservation(acme))
        with pytest.raises(LedgerUnavailable):
            await ledger.commit(paid)
        with pytest.raises(LedgerUnavailable):
            await ledger.reserve(reservation(acme))
    await until(lambda: ledger.failure is None and not ledger.pending)
    assert await period() == (150, 0)
    assert await sync_to_async(cost)() == 150
    assert (await sync_to_async(lambda: RequestRecord.rows.get())()).outcome == "ledger_unavailable"


async def test_where_the_ledger_cannot_be_written_what_is_refused_leaves_nothing_that_waits(
    ledger: Ledger, acme: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(batch.reserving, "reserve", full)
        patch.setattr(batch, "written_directly", full)
        with pytest.raises(LedgerUnavailable, match="disk is full"):
            await ledger.reserve(reservation(acme))
        before = ledger.pending
        for _ in range(20):
            with pytest.raises(LedgerUnavailable, match="are refused until it can"):
                await (await sync_to_async(bill)(ledger, acme)).reserve()
        assert ledger.pending == before
    ledger.post(await make(ledger))
    monkeypatch.setattr(writing, "RETRY_S", 0.01)
    await until(lambda: ledger.failure is None and not ledger.pending)


class Others:
    """Other machines, that are asked for a share and do not answer."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def ask(self, short: Any) -> bool:
        self.asked.set()
        return bool(await asyncio.Event().wait())


async def test_who_leaves_while_others_are_asked_leaves_nothing(
    ledger: Ledger, acme: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "shares", others := Others())
    monkeypatch.setattr(reserving, "reserve", lambda *_: [Short.of(Own("me", "1"), ())])
    wait = asyncio.create_task((await sync_to_async(bill)(ledger, acme)).reserve())
    async with asyncio.timeout(60):
        await others.asked.wait()
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    assert not ledger.pending


@pytest.mark.parametrize("has_come", [False, True])
async def test_who_leaves_as_it_is_reserved_has_it_let_go_once(
    ledger: Ledger, acme: Budget, monkeypatch: pytest.MonkeyPatch, *, has_come: bool
) -> None:
    """It is written, and whoever waits is cancelled before the answer has come, or before it was heard."""
    released, told = [], threading.Event()
    charge, answer = ledger.charge, writing.answer

    def answered(answers: Any) -> None:
        answer(answers)
        told.set()

    monkeypatch.setattr(ledger, "charge", lambda one: (released.append(one.hold), charge(one)))
    monkeypatch.setattr(writing, "answer", answered)
    one = await sync_to_async(bill)(ledger, acme)
    wait = asyncio.create_task(one.reserve())
    await asyncio.sleep(0)
    assert told.wait(10), "the loop stands still meanwhile"
    if has_come:
        asyncio.get_running_loop().call_soon(wait.cancel)
    else:
        wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    assert released == [one.hold]
    await until(lambda: not ledger.pending and not Hold.objects.exists())
    assert await period() == (0, 0)


async def test_a_record_that_is_refused_still_charges_its_calls(ledger: Ledger, acme: Budget) -> None:
    one, other = reservation(acme), reservation(acme)
    await asyncio.gather(ledger.reserve(one), ledger.reserve(other))
    refused = await make(ledger, charged(one, 70), tenant=10**6, is_paid=True)
    right = await make(ledger, charged(other, 50), is_paid=True)
    results = await asyncio.gather(ledger.commit(refused), ledger.commit(right), return_exceptions=True)
    assert isinstance(results[0], LedgerUnavailable)
    assert results[1] is None
    assert await period() == (120, 0)
    assert await sync_to_async(RequestRecord.rows.count)() == 1
    assert ledger.dropped == 1


@pytest.mark.parametrize(
    "odd",
    [{"model": None}, {"prompt_tokens": -1}, {"prompt_tokens": 2**64}, {"tags": object()}, {"price_id": "\ud800"}],
    ids=["nothing", "negative", "huge", "no text", "no Unicode"],
)
async def test_a_charge_that_is_refused_is_written_without_what_was_refused(
    ledger: Ledger, acme: Budget, odd: dict[str, Any]
) -> None:
    one = reservation(acme)
    await ledger.reserve(one)
    with pytest.raises(LedgerUnavailable):
        await ledger.commit(await make(ledger, charged(one, 70, **odd), is_paid=True))
    charge = await sync_to_async(Charge.rows.get)()
    assert (charge.cost_microusd, charge.request_id, charge.provider) == (70, "r", "openai")
    assert await period() == (70, 0)


async def test_the_holds_of_a_process_that_died_are_charged_as_reserved(
    ledger: Ledger, acme: Budget, tmp_path: Path
) -> None:
    alive = Life(tmp_path)
    paid, unknown = reservation(acme, amount=400), reservation(amount=None)
    await ledger.reserve(reservation(acme, amount=100))
    await ledger.reserve(reservation(acme, amount=300))
    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as database:  # as if another had made one of them
        database.execute("UPDATE orchestrator_hold SET holder = ? WHERE amount_microusd = 300", (alive.holder,))
        database.commit()
    await asyncio.to_thread(_reserve_as_a_process_that_dies, [paid, unknown], tmp_path)
    await until(lambda: ledger.lost_calls == 2)
    charges = {charge.hold: charge async for charge in Charge.rows.all()}
    assert {hold: (one.cost_microusd, one.source, one.outcome) for hold, one in charges.items()} == {
        paid.hold: (400, "reserved", "lost"),
        unknown.hold: (None, "unknown", "lost"),
    }
    assert all(one.is_estimated and one.model == "openai/big" for one in charges.values())
    assert charges[paid.hold].at == AT
    assert await period() == (400, 400), "those of the living stay as they are"
    assert alive.holder in left_behind(tmp_path)
    alive.end(is_empty=True)


def _reserve_as_a_process_that_dies(reservations: list[Any], folder: Path) -> None:
    life = Life(folder)
    with connection.cursor() as cursor:
        reserving.reserve(cursor, life.holder, [reserving.Wanted(one, False) for one in reservations], 0.0)
    connection.close()
    life.end(is_empty=False)


async def test_the_next_start_charges_what_was_left_behind(acme: Budget, tmp_path: Path) -> None:
    await asyncio.to_thread(_reserve_as_a_process_that_dies, [reservation(acme, amount=400)], tmp_path)
    ledger = Ledger(At(), holds_dir=tmp_path)
    await until(lambda: ledger.lost_calls == 1)
    await asyncio.to_thread(ledger.close)
    assert await period() == (400, 0)
    assert list(left_behind(tmp_path)) == []


async def test_a_call_counts_in_the_period_its_request_came_in(ledger: Ledger, acme: Budget) -> None:
    before, after = reservation(acme, at=AT - timedelta(days=1)), reservation(acme)
    for one in (before, after):
        await ledger.reserve(one)
    await ledger.commit(await make(ledger, charged(before, 30, at=before.at), charged(after, 40), is_paid=True))
    spent = {str(one.begins): one.spent_microusd async for one in BudgetPeriod.objects.all()}
    assert spent == {"2026-11-25": 30, "2026-11-26": 40}
    days = {str(day.day): day.cost_microusd async for day in SpendDay.rows.all()}
    assert days == spent


async def test_what_the_cache_saved_is_added_up_by_day(ledger: Ledger) -> None:
    hit = await make(ledger)
    row = hit.row() | {"saved_why": "memory", "saved_microusd": 5, "model": "openai/big", "at": AT}
    unknown = Line(row | {"saved_microusd": None})
    moment = int(AT.timestamp() * 1e6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Entry, "row", lambda _: row)
        await ledger.commit(hit)
    for number in range(10):
        ledger.repeat(Repeat(Line(row), str(number), moment + (number == 9) * 86_400_000_000, 9))
    ledger.repeat(Repeat(unknown, "unknown", moment, 9))
    await until(lambda: ledger.written == 12)
    days = {str(day.day): (day.saved_calls, day.saved_microusd, day.calls) async for day in SpendDay.rows.all()}
    assert days == {"2026-11-26": (11, 50, 0), "2026-11-27": (1, 5, 0)}


async def test_five_hundred_at_once_spend_no_more_than_there_is(ledger: Ledger) -> None:
    small = await sync_to_async(budget)(100 * 7, "small")
    wanted = [reservation(small, amount=7) for _ in range(500)]
    results = await asyncio.gather(*map(ledger.reserve, wanted), return_exceptions=True)
    refused = [result for result in results if result is not None]
    assert len(refused) == 400
    assert all(isinstance(one, BudgetSpent) for one in refused)
    assert await period() == (0, 700)


async def test_after_the_end_it_says_so(acme: Budget, tmp_path: Path) -> None:
    ledger = Ledger(At(), holds_dir=tmp_path)
    await asyncio.to_thread(ledger.close)
    with pytest.raises(LedgerUnavailable, match="closed"):
        await ledger.reserve(reservation(acme))
