"""What several processes let through together, with Redis there."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from orchestrator.core.errors import TooMany
from orchestrator.core.limits import NO_LIMIT, Standing
from orchestrator.core.redis_async import Line, open_redis
from orchestrator.limits import buckets, counting
from orchestrator.limits.buckets import LEASE_S
from orchestrator.limits.counting import HELD_S
from orchestrator.limits.limiter import Hold, Limiter
from orchestrator.limits.scripts import SHARE
from tests.limits.conftest import ALICE, DAY_S, HERE, MODEL, PATIENT_S, Ahead, Make, limit, spend, under, until
from tests.servers import RedisServer


def at_once(limiter: object, caller: object, most: int = 10_000) -> int:
    """How many are charged from memory before it wants to be asked properly."""
    for charged in range(most):
        if limiter.charge_at_once(caller, MODEL, HERE) is None:  # type: ignore[attr-defined]
            return charged
    return most


async def test_who_has_no_limits_is_asked_nothing(make: Make, redis: RedisServer) -> None:
    limiter = make(redis)
    assert limiter.charge_at_once(ALICE, MODEL, HERE) is NO_LIMIT
    assert await limiter.charge(ALICE, MODEL, HERE) is NO_LIMIT
    (await limiter.hold(ALICE, MODEL, HERE, lambda: 1 // 0)).release()
    assert redis.command("DBSIZE") == b":0\r\n"


@pytest.mark.parametrize("amount", [1, 10, 100, 1000])
async def test_three_processes_let_as_many_through_as_the_limit_says(
    make: Make, redis: RedisServer, amount: int
) -> None:
    caller = under(limit(amount=amount))
    limiters = [make(redis) for _ in range(3)]
    passed = await asyncio.gather(*(spend(limiter, caller) for limiter in limiters for _ in range(20)))
    assert sum(passed) <= amount
    await asyncio.gather(*(limiter.aclose() for limiter in limiters))  # unused leases are given back
    assert sum(passed) + await spend(make(redis), caller) == amount


async def test_requests_are_charged_from_memory_once_there_is_a_pace(make: Make, redis: RedisServer) -> None:
    limiter, caller = make(redis), under(limit(amount=1_000_000))
    assert limiter.charge_at_once(caller, MODEL, HERE) is None
    charged = 0
    for _ in range(20):
        await limiter.charge(caller, MODEL, HERE)
        charged += 1 + at_once(limiter, caller)
    assert charged > 1000
    assert limiter.leases <= 40
    standing = await limiter.charge(caller, MODEL, HERE)
    assert standing.now.startswith('"requests-1000000";r=')
    left = int(standing.now.split(";")[1].removeprefix("r="))
    assert left == pytest.approx(1_000_000 - charged - 1, abs=500)


async def test_a_lease_is_renewed_before_it_is_used_up(
    make: Make, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as Redis answers before the second half is used."""
    monkeypatch.setattr(buckets, "LEASE_S", 600.0)
    limiter, caller = make(redis), under(limit(amount=10_000_000))
    await limiter.charge(caller, MODEL, HERE)
    for _ in range(300):
        assert limiter.charge_at_once(caller, MODEL, HERE) is not None
        await settled(limiter)
    assert limiter.leases >= 3


async def test_when_little_is_left_it_is_taken_one_at_a_time(make: Make, redis: RedisServer) -> None:
    limiter, caller = make(redis), under(limit(amount=SHARE))
    for _ in range(SHARE):
        assert limiter.charge_at_once(caller, MODEL, HERE) is None
        await limiter.charge(caller, MODEL, HERE)
    with pytest.raises(TooMany):
        await limiter.charge(caller, MODEL, HERE)
    assert limiter.leases == 0


async def test_what_was_leased_and_not_used_in_time_is_not_used_later_but_given_back(
    make: Make, redis: RedisServer, clock: Ahead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "BEAT_S", 0.01)
    limiter, caller = make(redis), under(limit(amount=1000))
    for _ in range(6):
        await limiter.charge(caller, MODEL, HERE)
    assert limiter.leases
    clock.ahead_s += LEASE_S
    assert limiter.charge_at_once(caller, MODEL, HERE) is None
    other = make(redis)
    await until(lambda: used(redis, caller) <= 6.1)
    standing = await other.charge(caller, MODEL, HERE)
    assert standing.now.startswith('"requests-1000";r=993;')


def used(redis: RedisServer, caller: object) -> float:
    """The level of the one bucket there is."""
    said = redis.command("HGET", "orchestrator:{limits}:requests:1:1", "level")
    return float(said.split(b"\r\n")[1]) if said.startswith(b"$") and not said.startswith(b"$-1") else 0.0


async def test_of_several_limits_all_are_charged_or_none(make: Make, redis: RedisServer) -> None:
    wide, narrow = limit(amount=100, id=1), limit(amount=3, id=2)
    limiter, caller = make(redis), under(wide, narrow)
    assert await spend(limiter, caller) == 3
    for _ in range(20):
        with pytest.raises(TooMany, match="requests-3"):
            await limiter.charge(caller, MODEL, HERE)
    standing = await limiter.charge(under(wide), MODEL, HERE)
    assert standing.policy == f'"requests-100";q=100;w={DAY_S}'
    said = re.fullmatch(r'"requests-100";r=96;t=(\d+)', standing.now)
    assert said
    assert 3446 < int(said[1]) <= 3456


async def test_a_refusal_says_which_limit_it_was_and_when_to_come_again(make: Make, redis: RedisServer) -> None:
    limiter, caller = make(redis), under(limit(amount=2, per_s=600, name="slow"))
    assert await spend(limiter, caller) == 2
    for _ in range(2):  # the second is from memory
        with pytest.raises(TooMany) as refusal:
            await limiter.charge(caller, MODEL, HERE)
        error = refusal.value
        again_s = error.retry_after_s
        assert again_s
        assert 290 < again_s <= 300
        assert str(error) == f'Limit "slow" allows 2 requests in 600 s for each key; come again in {again_s} s.'
        assert error.standing == Standing('"slow";q=2;w=600', f'"slow";r=0;t={again_s}')
    assert limiter.refused == {("slow", "requests"): 3}


async def test_who_was_refused_is_let_through_later(make: Make, redis: RedisServer) -> None:
    limiter, caller = make(redis), under(limit(amount=1, per_s=1))
    await limiter.charge(caller, MODEL, HERE)
    refusals = 0
    async with asyncio.timeout(60):
        while not await spend(limiter, caller, 1):
            refusals += 1
            await asyncio.sleep(0.01)
    assert refusals


async def test_a_limit_of_nothing_lets_nothing_through(make: Make, redis: RedisServer) -> None:
    for kind in ("requests", "tokens", "concurrent"):
        limiter, caller = make(redis), under(limit(kind, amount=0))
        if kind == "requests":
            assert limiter.charge_at_once(caller, MODEL, HERE) is None
        asked = limiter.charge(caller, MODEL, HERE) if kind == "requests" else limiter.hold(caller, MODEL, HERE, int)
        with pytest.raises(TooMany) as refusal:
            await asked
        assert refusal.value.retry_after_s is None


async def test_what_is_counted_apart(make: Make, redis: RedisServer) -> None:
    limiter = make(redis)
    cast = {
        "alice": ALICE,
        "bob": replace(ALICE, key_id=2),
        "charlie": replace(ALICE, key_id=3, team_id=8),
        "dora": replace(ALICE, key_id=4, team_id=9, tenant_id=2),
    }
    expected = {
        "key": {"alice": 1, "bob": 1, "charlie": 1, "dora": 1},
        "team": {"alice": 1, "bob": 0, "charlie": 1, "dora": 1},
        "tenant": {"alice": 1, "bob": 0, "charlie": 0, "dora": 1},
        "all": {"alice": 1, "bob": 0, "charlie": 0, "dora": 0},
        "model": {"alice": 1, "bob": 0, "charlie": 0, "dora": 0},
        "address": {"alice": 1, "bob": 0, "charlie": 0, "dora": 0},
    }
    for number, (each, passes) in enumerate(expected.items()):
        rule = limit(amount=1, each=each, id=number)
        assert {name: await spend(limiter, under(rule, caller=who), 1) for name, who in cast.items()} == passes


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "unix", True),
    ],
)
async def test_which_addresses_are_one(make: Make, redis: RedisServer, first: str, second: str, is_one: bool) -> None:
    limiter, caller = make(redis), under(limit(amount=1, each="address"))
    await limiter.charge(caller, MODEL, first)
    if is_one:
        with pytest.raises(TooMany):
            await limiter.charge(caller, MODEL, second)
    else:
        await limiter.charge(caller, MODEL, second)


async def test_a_limit_that_is_changed_while_it_is_used_knows_what_was_used(make: Make, redis: RedisServer) -> None:
    limiter, other = make(redis), make(redis)
    assert await spend(limiter, under(limit(amount=100))) == 100
    assert await spend(limiter, under(limit(amount=150, name="more"))) == 50
    assert await spend(other, under(limit(amount=160, name="still"))) == 10
    with pytest.raises(TooMany):
        await limiter.charge(under(limit(amount=120, name="less")), MODEL, HERE)


async def test_huge_amounts_count_each_token(make: Make, redis: RedisServer) -> None:
    month = limit("tokens", amount=10**12, per_s=31 * DAY_S, name="month")
    limiter, caller = make(redis), under(month)
    hold = await limiter.hold(caller, MODEL, HERE, lambda: 10**12 - 10)
    hold.settle(10**12 - 10)
    hold.release()
    with pytest.raises(TooMany):
        await limiter.hold(caller, MODEL, HERE, lambda: 10**9)
    await limiter.hold(caller, MODEL, HERE, lambda: 10)


async def tokens_used(limiter: object, redis: RedisServer) -> float:
    said = redis.command("HGET", "orchestrator:{limits}:tokens:1:1", "level")
    return round(float(said.split(b"\r\n")[1]), 1)


async def settled(limiter: object) -> None:
    """What goes on in the background is over."""
    await until(lambda: not limiter._counting._tasks)  # type: ignore[attr-defined]


async def test_what_an_answer_took_is_what_is_charged(make: Make, redis: RedisServer) -> None:
    limiter, caller = make(redis), under(limit("tokens", amount=100_000, per_s=31 * DAY_S))
    for expected, came_to, total in ((300, 120, 120), (300, 900, 1020), (300, 300, 1320), (300, None, 1320)):
        hold = await limiter.hold(caller, MODEL, HERE, lambda units=expected: units)
        assert await tokens_used(limiter, redis) == pytest.approx(total - (came_to or 0) + expected, abs=1)
        if came_to is not None:
            hold.settle(came_to)
        hold.release()
        hold.release()
        hold.settle(5)
        await settled(limiter)
        assert await tokens_used(limiter, redis) == pytest.approx(total, abs=1)


async def test_a_debt_blocks_until_time_has_paid_it(make: Make, redis: RedisServer) -> None:
    limiter, caller = make(redis), under(limit("tokens", amount=1000, per_s=1000))
    hold = await limiter.hold(caller, MODEL, HERE, lambda: 10)
    hold.settle(3000)
    await settled(limiter)
    with pytest.raises(TooMany) as refusal:
        await limiter.hold(caller, MODEL, HERE, lambda: 10)
    assert 2000 < refusal.value.retry_after_s <= 2010  # type: ignore[operator]


async def test_a_question_of_more_tokens_than_the_burst_is_let_in_when_nothing_is_used(
    make: Make, redis: RedisServer
) -> None:
    limiter, caller = make(redis), under(limit("tokens", amount=1000, burst=100))
    await limiter.hold(caller, MODEL, HERE, lambda: 500)
    with pytest.raises(TooMany):
        await limiter.hold(caller, MODEL, HERE, lambda: 500)


async def test_so_many_at_a_time_and_no_more(make: Make, redis: RedisServer) -> None:
    caller = under(limit("concurrent", amount=5))
    limiters = [make(redis) for _ in range(2)]
    found = await asyncio.gather(
        *(limiter.hold(caller, MODEL, HERE, lambda: 1) for limiter in limiters for _ in range(20)),
        return_exceptions=True,
    )
    holds = [one for one in found if not isinstance(one, BaseException)]
    assert Counter(type(one).__name__ for one in found) == {"TooMany": 35, "_Held": 5}
    with pytest.raises(TooMany, match="allows 5 requests at a time for each key"):
        await limiters[0].hold(caller, MODEL, HERE, lambda: 1)
    holds[0].release()
    await limiters[0].hold(caller, MODEL, HERE, lambda: 1)
    with pytest.raises(TooMany):
        await limiters[1].hold(caller, MODEL, HERE, lambda: 1)


async def test_what_is_refused_for_want_of_a_place_charges_no_tokens(make: Make, redis: RedisServer) -> None:
    caller = under(limit("concurrent", amount=1, id=2), limit("tokens", amount=1000))
    limiter = make(redis)
    await limiter.hold(caller, MODEL, HERE, lambda: 10)
    for _ in range(5):
        with pytest.raises(TooMany, match="at a time"):
            await limiter.hold(caller, MODEL, HERE, lambda: 10)
    assert await tokens_used(limiter, redis) == pytest.approx(10, abs=0.5)


async def test_a_place_is_held_for_as_long_as_its_process_says_so(
    make: Make, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one whose process says nothing more is free after that."""
    monkeypatch.setattr(counting, "HELD_S", 0.5)
    monkeypatch.setattr(counting, "BEAT_S", 0.1)
    limiter, other, caller = make(redis), make(redis), under(limit("concurrent", amount=1))
    await limiter.hold(caller, MODEL, HERE, lambda: 1)
    began: list[float] = []  # when each beat did that was heard

    async def beat_on() -> None:
        at = time.monotonic()
        await type(limiter._counting).beat(limiter._counting)
        began.append(at)

    async def is_taken_by_another() -> bool:
        try:
            (await other.hold(caller, MODEL, HERE, lambda: 1)).release()
        except TooMany:
            return False
        return True

    monkeypatch.setattr(limiter._counting, "beat", beat_on)
    await until(lambda: len(began) > 10)
    while await is_taken_by_another():
        heard = len(began)
        assert time.monotonic() - began[-1] > 0.5, "its process has just said that it is held"
        await until(lambda heard=heard: len(began) > heard)
    limiter._counting._keeper.cancel()  # type: ignore[union-attr]  # as if it were killed
    async with asyncio.timeout(60):
        while True:
            try:
                await other.hold(caller, MODEL, HERE, lambda: 1)
                break
            except TooMany:
                await asyncio.sleep(0.05)


async def test_a_beat_that_fails_is_told_of_and_not_the_last(
    make: Make, redis: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(counting, "BEAT_S", 0.01)
    limiter, beats = make(redis), 0

    async def beat() -> None:
        nonlocal beats
        beats += 1
        if beats == 1:
            raise ValueError("as nobody thought it could")

    monkeypatch.setattr(limiter._counting, "beat", beat)
    await limiter.charge(under(limit()), MODEL, HERE)
    await until(lambda: beats > 2)
    assert "could not be looked after" in caplog.text


def test_a_place_outlasts_some_beats_that_are_missed() -> None:
    assert HELD_S >= 3 * counting.BEAT_S


async def test_a_caller_who_gives_up_while_it_waits_for_a_place_holds_none(make: Make, redis: RedisServer) -> None:
    limiter, caller = make(redis), under(limit("concurrent", amount=1))
    for _ in range(20):
        holding = asyncio.create_task(limiter.hold(caller, MODEL, HERE, lambda: 1))
        await asyncio.sleep(0)
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
    async with asyncio.timeout(60):
        while redis.command("ZCARD", "orchestrator:{limits}:concurrent:1:1") != b":0\r\n":
            await asyncio.sleep(0.01)
    await limiter.hold(caller, MODEL, HERE, lambda: 1)


async def test_a_caller_who_gives_up_while_it_waits_for_its_tokens_pays_none(make: Make, redis: RedisServer) -> None:
    limiter, caller = make(redis), under(limit("tokens", amount=100_000))
    for turns in range(30):
        holding = asyncio.create_task(limiter.hold(caller, MODEL, HERE, lambda: 1000))
        for _ in range(turns):
            await asyncio.sleep(0)
        holding.cancel()
        (taken,) = await asyncio.gather(holding, return_exceptions=True)
        if isinstance(taken, Hold):
            taken.release()
    await settled(limiter)
    await limiter.hold(caller, MODEL, HERE, lambda: 1000)
    standing = await limiter.charge(caller, MODEL, HERE)
    assert int(standing.now.split(";")[1].removeprefix("r=")) >= 98_900


async def test_how_a_caller_stands_is_said_of_every_rate(make: Make, redis: RedisServer) -> None:
    caller = under(
        limit(amount=100, per_s=3600, name="hourly"),
        limit("tokens", amount=5000, name="daily", id=2),
        limit("concurrent", amount=3, name="together", id=3),
        limit(amount=1, model="other*", name="elsewhere", id=4),
    )
    standing = await make(redis).charge(caller, MODEL, HERE)
    assert standing.policy == f'"hourly";q=100;w=3600, "daily";q=5000;w={DAY_S};qu="tokens"'
    assert re.fullmatch(r'"hourly";r=99;t=(2[6-9]|3[0-6]), "daily";r=5000;t=0', standing.now)


async def test_how_many_limits_there_are_the_headers_stay_short(make: Make, redis: RedisServer) -> None:
    caller = under(*(limit(amount=100, name=f"limit-{number}", id=number) for number in range(30)))
    limiter = make(redis)
    standing = await limiter.charge(caller, MODEL, HERE)
    assert standing.policy.count(",") == standing.now.count(",") == 3


async def test_buckets_nobody_asks_for_are_let_go_of(
    make: Make, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "BEAT_S", 0.01)
    monkeypatch.setattr(counting, "MOST_QUIET", 100)
    limiter, caller = make(redis), under(limit(amount=1000, per_s=1, each="address"))
    for number in range(300):
        await limiter.charge(caller, MODEL, f"10.0.{number // 256}.{number % 256}")
    counted = limiter._counting._buckets
    await until(lambda: len(counted) <= 100)
    await limiter.charge(caller, MODEL, HERE)


async def test_a_place_is_said_to_be_held_though_places_were_let_go_of_while_it_was_asked_for(
    make: Make, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MOST_QUIET", -1)
    limiter, caller = make(redis), under(limit("concurrent", amount=2))
    counted = limiter._counting
    (await limiter.hold(caller, MODEL, HERE, lambda: 1)).release()
    counted._forget(0.0)
    first = await limiter.hold(caller, MODEL, HERE, lambda: 1)
    assert [len(places.members) for places in counted._places.values()] == [1]
    first.release()
    holding = asyncio.create_task(limiter.hold(caller, MODEL, HERE, lambda: 1))
    await asyncio.sleep(0)
    counted._forget(0.0)
    await holding
    assert [len(places.members) for places in counted._places.values()] == [1]


async def test_many_that_settle_at_once_are_no_sign_that_redis_is_out_and_are_all_told_of(
    redis: RedisServer, clock: Ahead, closing: AsyncExitStack
) -> None:
    limiter = Limiter(Line(open_redis(redis.url), PATIENT_S, most_waiting=2), clock)
    closing.push_async_callback(limiter.aclose)
    caller = under(limit("tokens", amount=1_000_000, per_s=31 * DAY_S))
    holds = [await limiter.hold(caller, MODEL, HERE, lambda: 10) for _ in range(50)]
    for hold in holds:
        hold.release()
    await settled(limiter)
    assert not limiter.is_alone
    await limiter.hold(caller, MODEL, HERE, lambda: 10)
    left = int((await limiter.charge(caller, MODEL, HERE)).now.split(";")[1].removeprefix("r="))
    assert 999_990 <= left < 1_000_000


async def test_a_redis_that_lost_the_scripts_is_told_them_again(make: Make, redis: RedisServer) -> None:
    limiter, caller = make(redis), under(limit(amount=3))
    await limiter.charge(caller, MODEL, HERE)
    redis.command("SCRIPT", "FLUSH")
    assert await spend(limiter, caller) == 2
    assert not limiter.is_alone


async def test_what_is_used_is_told_as_all_count_it_and_asking_takes_nothing(
    make: Make, redis: RedisServer, clock: Ahead
) -> None:
    rate, tokens, places = limit(amount=10, id=1), limit("tokens", 1000, id=2), limit("concurrent", 5, id=3)
    caller = under(rate, tokens, places)
    one, other = make(redis), make(redis)
    counted = [(each, str(ALICE.key_id)) for each in (rate, tokens, places)]
    assert await one.used(counted) == [0, 0, 0]
    assert await one.used([]) == ()
    assert redis.command("DBSIZE") == b":0\r\n"
    for limiter in (one, other):
        await limiter.charge(caller, MODEL, HERE)
    hold = await other.hold(caller, MODEL, HERE, lambda: 400)
    for _ in range(2):
        assert await one.used(counted) == pytest.approx([2, 400, 1], abs=0.5)
    assert await one.used([(rate, "2")]) == [0], "another key's"
    hold.settle(100)
    hold.leave()
    async with asyncio.timeout(PATIENT_S):
        while (await one.used(counted) or ())[1:] != pytest.approx([100, 0], abs=0.5):
            await asyncio.sleep(0.01)
    assert await make().used(counted) is None, "nobody says what all use"


async def test_what_was_used_drains_as_it_is_looked_at(make: Make, redis: RedisServer) -> None:
    fast = limit(amount=100, per_s=1, burst=100)
    limiter = make(redis)
    await limiter.charge(under(fast), MODEL, HERE)
    async with asyncio.timeout(PATIENT_S):
        while await limiter.used([(fast, str(ALICE.key_id))]) != [0]:
            await asyncio.sleep(0.01)
