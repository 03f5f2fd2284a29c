"""What Redis does is what the meter does, word for word."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from orchestrator.core.redis_async import open_redis
from orchestrator.limits.meter import Meter, Rate, Receipt
from orchestrator.limits.scripts import BEAT, GIVE_BACK, LIFE, SHARE, TAKE
from tests.limits.conftest import PATIENT_S
from tests.servers import RedisServer

RATE = Rate(500, 1, 40)
ROUNDED = 0.02  # times are kept to a quarter of a microsecond or so


@pytest.fixture
async def client(redis: RedisServer) -> AsyncIterator[Redis]:
    client = open_redis(redis.url, PATIENT_S)
    yield client
    await client.aclose()


async def take(
    client: Redis,
    need: int,
    extra: int = 0,
    *,
    rate: Rate = RATE,
    floor: float = 0.0,
    life: str = "",
    owed: float = 0.0,
    fresh: str = "first",
) -> tuple[str, float, int, Receipt, int]:
    """The life, the time in seconds, who refused, the receipt, and what it got besides."""
    words: list[Any] = [fresh, 1, "me", 1_000_000, rate.amount, rate.per_s * 1_000_000, rate.burst, need, extra]
    words += [repr(floor), life, repr(owed)]
    answer = await client.eval(TAKE, 2, LIFE, "{limits}bucket", *words)  # type: ignore[misc]
    now = float(answer[1]) / 1e6
    return answer[0].decode(), now, answer[2], Receipt(float(answer[3]), now, float(answer[4])), int(answer[5])


async def give_back(client: Redis, units: int, receipt: Receipt, *, life: str = "first", rate: Rate = RATE) -> None:
    words: list[Any] = [life, rate.amount, rate.per_s * 1_000_000, units]
    words += [repr(receipt.level), repr(receipt.at * 1e6), repr(receipt.given)]
    await client.eval(GIVE_BACK, 2, LIFE, "{limits}bucket", *words)  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(5))
async def test_redis_counts_as_the_meter_does(client: Redis, seed: int) -> None:
    chance, meter = random.Random(seed), Meter()
    receipts: list[tuple[int, Receipt]] = []
    refusals = 0
    for _ in range(300):
        need = chance.randint(1, 12)
        _, now, refused, receipt, _ = await take(client, need)
        if abs(meter.left(RATE, now) - need) > ROUNDED:
            assert bool(refused) == bool(meter.wait_s(RATE, need, now))
        if refused:
            refusals += 1
            meter.drain(RATE, now)
        else:
            ours = meter.charge(RATE, need, now)
            assert receipt.level == pytest.approx(ours.level, abs=ROUNDED)
            assert receipt.given == pytest.approx(ours.given, abs=ROUNDED)
            receipts.append((need, receipt))
        if receipts and chance.random() < 0.5:
            units, receipt = receipts.pop(chance.randrange(len(receipts)))
            units = chance.randint(0, units)
            await give_back(client, units, receipt)
            _, now, _, after, _ = await take(client, 0)
            meter.give_back(RATE, units, receipt, now)
            # Between the two some time has passed, in which some of it may have drained.
            assert after.level <= meter.level + ROUNDED
            meter.level, meter.given, meter.at = after.level, after.given, now
    assert refusals > 10


async def test_one_that_refuses_keeps_all_from_being_charged(client: Redis) -> None:
    day = 86400 * 1_000_000
    words: list[Any] = ["fresh", 2, "me", 1_000_000, 10, day, 10, 4, 0, "0", "", "0", 10, day, 3, 4, 0, "0", "", "0", 1]
    await take(client, 0)
    keys = [LIFE, "{limits}wide", "{limits}narrow", "{limits}places"]
    refused = []
    for need in (1, 1, 1, 1):
        words[7] = words[15] = need
        answer = await client.eval(TAKE, 4, *keys, *words)  # type: ignore[misc]
        refused.append(answer[2])
    assert refused == [0, 3, 3, 3], "the place is taken"
    assert float(answer[3]) == pytest.approx(1, abs=0.01)
    assert float(answer[6]) == pytest.approx(1, abs=0.01)
    await client.delete("{limits}places")
    words[7] = words[15] = 3
    answer = await client.eval(TAKE, 4, *keys, *words)  # type: ignore[misc]
    assert answer[2] == 2
    assert not await client.zcard("{limits}places")


async def test_what_is_leased_is_never_more_than_a_share_of_what_is_left(client: Redis) -> None:
    rate = Rate(1000, 86400, 1000)
    _, _, _, receipt, extra = await take(client, 1, 10_000, rate=rate)
    assert extra == 999 // SHARE
    assert receipt.level == pytest.approx(1 + extra, abs=0.01)
    for _ in range(200):
        _, _, refused, receipt, extra = await take(client, 1, 10_000, rate=rate)
        left = 1000 - receipt.level + extra
        assert refused or extra <= left / SHARE
    assert refused == 1
    assert receipt.level == pytest.approx(1000, abs=0.1)


async def test_what_redis_forgot_is_put_back_below_what_was_charged_since(client: Redis) -> None:
    rate = Rate(1000, 86400, 1000)
    await take(client, 0)
    await client.flushall()
    life, _, _, receipt, _ = await take(client, 10, rate=rate, life="first", fresh="second")
    assert (life, receipt.level) == ("second", 10)
    *_, receipt, _ = await take(client, 1, rate=rate, life="first", floor=300.0)
    assert receipt.level == pytest.approx(311, abs=0.1), "300 were used, and 10 since"
    *_, receipt, _ = await take(client, 1, rate=rate, life="first", floor=200.0)
    assert receipt.level == pytest.approx(312, abs=0.1), "somebody else's memory is older"
    *_, receipt, _ = await take(client, 1, rate=rate, life="first", floor=350.0)
    assert receipt.level == pytest.approx(363, abs=0.1), "and another's newer"
    *_, receipt, _ = await take(client, 1, rate=rate, life="second", floor=900.0)
    assert receipt.level == pytest.approx(364, abs=0.1), "who knows this life has nothing to say of another"


async def test_what_was_spent_without_it_is_a_debt(client: Redis) -> None:
    rate = Rate(100, 86400, 100)
    *_, refused, receipt, _ = await take(client, 1, rate=rate, owed=130.0)
    assert refused == 1
    assert receipt.level == pytest.approx(130, abs=0.1)


async def test_nothing_is_given_back_of_another_life(client: Redis) -> None:
    rate = Rate(100, 86400, 100)
    *_, receipt, _ = await take(client, 50, rate=rate)
    await give_back(client, 50, receipt, life="before", rate=rate)
    *_, after, _ = await take(client, 0, rate=rate)
    assert after.level == pytest.approx(50, abs=0.1)


async def test_nothing_is_kept_longer_than_it_says_something(client: Redis) -> None:
    *_, receipt, _ = await take(client, 20, rate=Rate(10, 1, 40))
    left_ms = await client.pttl("{limits}bucket")
    assert 2_000 < left_ms <= 4_000
    await give_back(client, 20, receipt, rate=Rate(10, 1, 40))
    assert await client.pttl("{limits}bucket") > 1_000, "others may still remember more"
    await client.eval(BEAT, 2, LIFE, "{limits}places", "fresh", 1_000_000, 1, "me")  # type: ignore[misc]
    assert 0 < await client.pttl("{limits}places") <= 1000
    assert await client.ttl(LIFE) == -1
