"""A ledger that asks a Redis for its shares, as a web worker has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from redis import Redis

from orchestrator.core.budgets import EVER
from orchestrator.core.clock import Clock
from orchestrator.core.errors import BudgetSpent
from orchestrator.core.inodes import file_of
from orchestrator.core.redis_async import Line, open_redis
from orchestrator.ledger import share_beat, shares, sharing
from orchestrator.ledger.holds import Reservation
from orchestrator.ledger.machines import Own
from orchestrator.ledger.share_beat import ShareBeat
from orchestrator.ledger.share_scripts import TABLE
from orchestrator.ledger.shares import Elsewhere
from orchestrator.ledger.together import Together
from orchestrator.ledger.writer import Ledger
from orchestrator.models import Budget, BudgetAlert, Share, ShareElsewhere
from tests.ledger.machine import Machine, do
from tests.ledger.spender import charge, reservation
from tests.servers import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long Redis takes on a busy machine."""
    monkeypatch.setattr(sharing, "ASK_S", 5.0)


class Worker:
    """A web worker's ledger, and its part in sharing."""

    def __init__(self, redis: RedisServer, folder: Path) -> None:
        file = file_of(folder)
        self.ledger = Ledger(Clock(), holds_dir=folder, file=file)
        line = Line(open_redis(redis.url, sharing.ASK_S, most_connections=2), sharing.ASK_S)
        lock = folder / "shares"
        self.together = Together(line, Clock(), self.ledger, file=file, label="here", lock=lock)
        self.together.start()

    async def aclose(self) -> None:
        await self.together.aclose()
        await asyncio.to_thread(self.ledger.close)


@pytest.fixture
def house(transactional_db: None) -> Budget:
    fields = {"period": "total", "each": "all", "shares": "50"}
    return Budget.objects.create(name="house", amount_microusd=100_000, **fields)


@pytest.fixture
async def worker(own_redis: RedisServer, house: Budget, tmp_path: Path) -> AsyncIterator[Worker]:
    worker = Worker(own_redis, tmp_path)
    await has_told(own_redis)
    yield worker
    await worker.aclose()


@pytest.fixture
def other(house: Budget) -> Iterator[Machine]:
    other = Machine(("house", 100_000))
    yield other
    other.close()


async def has_told(redis: RedisServer) -> None:
    """This machine, all that it has; and nobody else has to be waited for."""
    with Redis.from_url(redis.url) as client:
        await until(lambda: any(field.startswith(b"r:") for field in client.hkeys(TABLE)))
        client.hset(TABLE, "since", 0)


async def test_many_ask_once(worker: Worker, house: Budget) -> None:
    await asyncio.gather(*(worker.ledger.reserve(reservation(house, 1_000)) for _ in range(100)))
    assert worker.together.asking.asked <= 2
    with pytest.raises(BudgetSpent):
        await worker.ledger.reserve(reservation(house, 1))
    assert worker.ledger.over_budget == {"house": 1}, "a share that is too small is no refusal yet"


async def test_without_redis_it_spends_its_share_and_no_more(
    worker: Worker, house: Budget, own_redis: RedisServer
) -> None:
    await worker.ledger.reserve(reservation(house, 1_000))
    await sync_to_async(Share.objects.update)(granted_microusd=3_000)
    own_redis.kill()
    await worker.ledger.reserve(reservation(house, 2_000))
    with pytest.raises(BudgetSpent, match="the rest is with other machines"):
        await worker.ledger.reserve(reservation(house, 1))
    own_redis.start()
    await has_told(own_redis)

    async def is_granted() -> bool:
        try:
            await worker.ledger.reserve(reservation(house, 1))
        except BudgetSpent:
            return False
        return True

    async with asyncio.timeout(60):
        while not await is_granted():
            await asyncio.sleep(0.05)


async def test_who_ends_gives_back_what_it_does_not_need(house: Budget, own_redis: RedisServer, tmp_path: Path) -> None:
    worker = Worker(own_redis, tmp_path)
    await has_told(own_redis)
    await worker.ledger.reserve(reservation(house, 1_000))
    assert (await Share.objects.aget()).granted_microusd == 100_000
    await worker.aclose()
    with Redis.from_url(own_redis.url) as client:
        granted = [value for field, value in client.hgetall(TABLE).items() if field.startswith(b"g:")]
    assert granted == [b"1000"]
    assert (await Share.objects.aget()).granted_microusd == 1_000


async def test_who_waits_has_what_comes_back_however_often_another_asks_meanwhile(
    worker: Worker, other: Machine, house: Budget, own_redis: RedisServer
) -> None:
    with Redis.from_url(own_redis.url) as redis:
        other.in_touch(redis)
        one = reservation(house, 90_000)
        async with asyncio.timeout(60):
            while not await is_reserved(worker, one):  # the machines are to know of each other first
                await asyncio.sleep(0.05)
        charge(worker.ledger, one, 10_000)
        assert other.reserve_at_last(50_000, redis) is not None
        async with asyncio.timeout(60):
            while (await Share.objects.aget()).granted_microusd > 10_000:  # its beat gives back
                await asyncio.sleep(0.05)
        for _ in range(3):
            assert not await is_reserved(worker, reservation(house, 60_000))
        async with asyncio.timeout(60):
            while other.reserve_at_last(50_000, redis) is not None:  # what was granted of the 60,000 comes back, too
                await asyncio.sleep(0.05)
        assert await is_reserved(worker, reservation(house, 30_000)), "the rest is not held for anybody"


async def test_of_what_is_gone_nothing_goes_on_being_known(worker: Worker, house: Budget) -> None:
    await worker.ledger.reserve(reservation(house, 1_000))
    beat = worker.together._beat
    await until(lambda: beat._said)
    account = next(iter(beat._said))
    beat._heard["m", account] = Elsewhere("m", account, None, 1, 1, 0)
    await house.adelete()
    await until(lambda: not beat._said and not beat._heard)


async def test_who_has_nothing_to_give_back_writes_nothing(
    worker: Worker, house: Budget, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    beat = ShareBeat(worker.together._teller, Clock(), file="", label="here", lock=tmp_path / "another")
    written: list[Any] = []

    async def write(part: Any, *_: Any) -> list[Any]:
        written.append(part)
        return []

    async def read(part: Any, *arguments: Any) -> Any:
        return await sync_to_async(share_beat._with_cursor)(part, *arguments)

    async def told(*_: Any) -> bool:
        return True

    monkeypatch.setattr(beat, "_write", write)
    monkeypatch.setattr(beat, "_read", read)
    monkeypatch.setattr(beat, "_tell", told)
    await beat._give_back(Own("me", "1"), ["a pot"])
    await sync_to_async(Share.objects.create)(budget_id=house.pk, under="", begins=EVER, granted_microusd=0)
    await beat._give_back(Own("me", "1"), None)
    assert not written
    await sync_to_async(Share.objects.update)(granted_microusd=10)
    await beat._give_back(Own("me", "1"), None)
    assert written == [shares.give_back]
    await beat.aclose()


async def is_reserved(worker: Worker, one: Reservation) -> bool:
    try:
        await worker.ledger.reserve(one)
    except BudgetSpent:
        return False
    return True


async def test_a_share_of_the_whole_is_reached_by_what_all_spend(
    worker: Worker, other: Machine, house: Budget, own_redis: RedisServer
) -> None:
    with Redis.from_url(own_redis.url) as redis:
        other.in_touch(redis)
        async with asyncio.timeout(60):
            while other.reserve_at_last(40_000, redis) is not None:  # the worker is to know of it first
                await asyncio.sleep(0.05)
        other.settle(next(iter(other.holds)), 40_000)
        do(other.telling(), redis)
        one = reservation(house, 20_000)
        await worker.ledger.reserve(one)
        assert not await BudgetAlert.objects.aexists()
        charge(worker.ledger, one, 20_000)
        async with asyncio.timeout(60):
            while not await BudgetAlert.objects.aexists():
                await asyncio.sleep(0.05)
    alert = await BudgetAlert.objects.aget()
    assert (alert.share, alert.spent_microusd) == (50, 60_000)
    heard = await ShareElsewhere.objects.aget()
    assert (heard.machine, heard.spent_microusd, heard.amount_microusd) == (other.own().name, 40_000, 100_000)


async def until(found: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not found():
            await asyncio.sleep(0.05)
